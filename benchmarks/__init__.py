"""Benchmarks of the library's claims and speed: ``python -m benchmarks.claims base``."""
