"""Graceful stops, and exclusive access to the output folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from vidweave.errors import TrainingError
from vidweave.storage import locked

__all__ = ["StopRequest", "locked_folder", "stop_requests"]


class StopRequest:
    """The signal that requested the run to stop (0: none)."""

    def __init__(self) -> None:
        self.signal = 0

    def end(self, signal_number: int, where: str) -> None:
        """End the run if a process received a stop signal, after a checkpoint was written.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: after SIGTERM (which clusters send to end a job), with the usual code 143.
        """
        if signal_number == signal.SIGINT:
            raise KeyboardInterrupt(f"stopped {where}; run again to resume")
        if signal_number:
            raise SystemExit(128 + signal_number)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record SIGINT and SIGTERM instead of dying in the middle of a step; a second one takes effect immediately."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock `folder` against other runs; the operating system releases it however this process ends.

    Raises:
        TrainingError: another process is training into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = TrainingError(f"another process trains into {folder}; wait for it, or use another folder")
    with locked(folder, busy):
        yield
