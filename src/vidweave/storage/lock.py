"""One process at a time: a lock that the system releases however its holder ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["locked", "lock_file"]


def lock_file(path: Path) -> Path:
    """Return the file that guards `path`: hidden inside a folder, hidden beside a file."""
    return path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path, error: Exception) -> Iterator[None]:
    """Hold `path`, a file or an existing folder, for this process; never waits.

    Args:
        error: Raised if another process holds it: what is being written, and what to do.

    Raises:
        OSError: the lock file cannot be made.
    """
    lock = FileLock(lock_file(path), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise error from None
    try:
        yield
    finally:
        lock.release()
