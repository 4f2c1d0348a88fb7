"""Say on stderr how far a command is, once it has run for two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from vidweave.cli.amounts import format_bytes

__all__ = ["ByteProgress"]

_PATIENCE_SECONDS = 2.0
_LINE_SECONDS = 10.0


class ByteProgress:
    """A line of what is done and how far: rewritten in place on a terminal, a new one now and then elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._shown: float | None = None
        self._is_open = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `what` are done."""
        now, is_terminal = self._clock(), sys.stderr.isatty()
        pause = 0.2 if is_terminal else _LINE_SECONDS
        if now - self._start < _PATIENCE_SECONDS or (self._shown is not None and now - self._shown < pause):
            return
        self._shown = now
        line = f"{what}: {done / max(total, 1):.0%} of {format_bytes(total)}"
        self._is_open = is_terminal
        print(f"\r\x1b[K{line}" if is_terminal else line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line that is being rewritten."""
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_open = False
