"""What a package adds to dlspec: see `docs/extending.md`."""
