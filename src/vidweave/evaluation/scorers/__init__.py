"""Score benchmarks with the rules of their published scripts, and with strict rules."""
