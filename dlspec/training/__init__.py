"""Training a spec on real data: sources, the run and its records.

`run.train` is the entry; this file imports nothing, since `check` reads `schemas` and each
worker process reads `worker`.
"""
