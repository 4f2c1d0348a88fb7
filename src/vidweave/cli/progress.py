"""Progress on stderr, for commands that run longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from vidweave.cli.amounts import format_bytes

__all__ = ["ByteProgress", "show_elapsed"]

_PATIENCE_SECONDS = 2.0
_LINE_SECONDS = 10.0
_LOG_SECONDS = 60.0  # logs need a sign of life, not a clock


class ByteProgress:
    """Progress line in bytes: rewritten in place on a terminal, otherwise a new line every few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._shown: float | None = None
        self._is_open = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` bytes of `what` are done."""
        now, is_terminal = self._clock(), sys.stderr.isatty()
        pause = 0.2 if is_terminal else _LINE_SECONDS
        if now - self._start < _PATIENCE_SECONDS or (self._shown is not None and now - self._shown < pause):
            return
        self._shown = now
        line = f"{what}: {done / max(total, 1):.0%} of {format_bytes(total)}"
        self._is_open = is_terminal
        print(f"\r\x1b[K{line}" if is_terminal else line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the progress line."""
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_open = False


@contextmanager
def show_elapsed(what: str, *, patience: float = _PATIENCE_SECONDS, pause: float = _LOG_SECONDS) -> Iterator[None]:
    """Show on stderr that `what` is running and for how long, for work without a count.

    A terminal shows a spinner after `patience` seconds and nothing when the work is done; a log gets a line every
    `pause` seconds.
    """
    done = Event()
    show = _spin if sys.stderr.isatty() else _log
    thread = Thread(target=show, args=(what, done, patience, pause), name="vidweave-elapsed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _spin(what: str, done: Event, patience: float, pause: float) -> None:
    if done.wait(patience):
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        display.add_task(what, total=None)
        done.wait()


def _log(what: str, done: Event, patience: float, pause: float) -> None:
    start = time.monotonic()
    while not done.wait(pause):
        print(f"{what}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
