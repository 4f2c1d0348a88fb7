"""A disk that fails at the n-th change: because the process was killed there, or because it is full."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GROWING = {"open", "os.mkdir", "os.link"}
CHANGING = GROWING | {"os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}


class Killed(BaseException):
    """The process is gone: from here on nothing reaches the disk."""


class Disk:
    """Counts changes of files and folders, and lets those from `fail_at` on fail; None never fails."""

    def __init__(self, fail_at: int | None = None, *, is_full: bool = False) -> None:
        self.fail_at, self.is_full, self.count = fail_at, is_full, 0

    def see(self, event: str, args: tuple) -> None:
        changing = GROWING if self.is_full else CHANGING
        if event not in changing or (event == "open" and not _writes(args)):
            return
        self.count += 1
        if self.fail_at is not None and self.count > self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if self.is_full else Killed


def _writes(args: tuple) -> bool:
    return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


_active: list[Disk] = []


def _hook(event: str, args: tuple) -> None:
    if _active:
        _active[-1].see(event, args)


sys.addaudithook(_hook)  # stays for the life of the process; it does nothing outside `watched`


@contextmanager
def watched(disk: Disk) -> Iterator[Disk]:
    _active.append(disk)
    try:
        yield disk
    finally:
        _active.pop()
