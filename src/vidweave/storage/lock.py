"""Locks between processes, released by the operating system however their holder ends."""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["lock_file", "locked", "waiting_lock"]


def lock_file(path: Path) -> Path:
    """Return the file that guards `path`: hidden inside a folder, hidden beside a file."""
    return path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Lock `path`, a file or an existing folder, for this process; never waits.

    Args:
        busy: Raised if another process holds it; should say what is in use and what to do.

    Raises:
        OSError: the lock file cannot be created.
    """
    lock = FileLock(lock_file(path), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Lock `path` for this process, waiting for other processes of this user on this machine.

    Nothing is left in or beside `path`, which may be published: the lock file is in the temporary folder.
    """
    folder = Path(tempfile.gettempdir()) / f"vidweave-locks-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / f"{sha256(str(path.resolve()).encode()).hexdigest()[:32]}.lock"):
        yield
