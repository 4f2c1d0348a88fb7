"""What the library claims and how fast it is, as programs: ``python -m benchmarks.claims base``."""
