"""Exit codes; a file of its own, which the console script can import before all else."""

__all__ = ["BAD_INPUT", "FAULT", "INTERRUPTED"]

FAULT = 1  # a failed check, or a fault of ours or of the machine
BAD_INPUT = 2
INTERRUPTED = 130
