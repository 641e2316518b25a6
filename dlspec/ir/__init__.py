"""The intermediate representation: what elaboration builds and backends lower."""
