"""Score benchmarks as their published scripts do, and strictly beside it."""
