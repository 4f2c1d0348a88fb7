"""Exit codes, in a separate file that the console script can import first."""

__all__ = ["BAD_INPUT", "FAULT", "INTERRUPTED"]

FAULT = 1  # a failed check, or an error of vidweave or of the machine
BAD_INPUT = 2
INTERRUPTED = 130
