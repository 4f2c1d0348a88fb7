"""Write files and folders atomically, and read with size limits."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "append_durably",
    "atomic_folder",
    "atomic_path",
    "is_disk_full",
    "read_bounded",
    "read_range",
    "remove_scratch",
    "sync",
    "write_atomically",
]

# .NAME.PID.RANDOM with the suffix of the final file: leftovers of a kill are hidden, and `remove_scratch` finds them.
_SCRATCH = re.compile(r"\..+\.\d+\.[0-9a-f]{8}(\.\w+)?")
_LONGEST_STEM = 100  # keeps scratch names below the usual limit of 255 bytes


def scratch_name(path: Path) -> Path:
    """Return a hidden name beside `path`, with its suffix, that no other writer uses."""
    return path.with_name(f".{path.stem[:_LONGEST_STEM]}.{os.getpid()}.{uuid.uuid4().hex[:8]}{path.suffix}")


def write_atomically(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Write `data` to `path`, all or nothing, even if the process or the machine dies at any point.

    The bytes are written beside `path`, forced to disk and renamed; then the folder is forced to disk, so that the name
    survives too. A failure leaves `path` unchanged.

    Args:
        scratch: Temporary path on the same file system; None uses a hidden name beside `path`.

    Raises:
        OSError: the file system refused, for example because it is full.
    """
    scratch = scratch_name(path) if scratch is None else scratch
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`, for libraries that write by name; it replaces `path` on success.

    It keeps the suffix of `path`. On failure it is removed and `path` stays unchanged.
    """
    scratch = scratch_name(path)
    try:
        yield scratch
        sync(scratch)
        os.replace(scratch, path)
        sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `path` that replaces `path` on success.

    On failure the hidden folder is removed and `path` stays unchanged. A kill between the removal of the old folder and the
    rename leaves neither, so use it for folders that can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_name(path)
    scratch.mkdir()
    try:
        yield scratch
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(scratch, path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def remove_scratch(folder: Path) -> None:
    """Remove leftovers of killed writers anywhere in `folder`; no process may be writing there."""
    for path in [p for p in folder.rglob(".*") if _SCRATCH.fullmatch(p.name)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def append_durably(descriptor: int, data: bytes) -> int:
    """Append `data` to an open file, all or nothing, and force it to disk; return the offset where it begins.

    Raises:
        OSError: the file system refused; the file has its old length then.
    """
    size = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    return size


def sync(*paths: Path) -> None:
    """Force files' bytes, or folders' names, to disk; systems that cannot open folders skip those."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:
            if path.is_dir():
                continue
            raise
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_disk_full(error: OSError) -> bool:
    """Return whether the file system or the user's quota is full."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a whole file of at most `max_bytes`; raise ValueError before reading a longer one."""
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"{path.name} has {size} bytes, at most {max_bytes} are expected")
        return file.read(size)


def read_range(path: Path, ranges: list[tuple[int, int]]) -> list[bytearray]:
    """Read the bytes of each (offset, length); raise ValueError, before any allocation, if the file is too short."""
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        for offset, length in ranges:
            if offset < 0 or length < 0 or offset + length > size:
                raise ValueError(f"{path.name} has {size} bytes, but bytes {offset}..{offset + length} are needed")
        return [_read_one(file, offset, length) for offset, length in ranges]


def _read_one(file, offset: int, length: int) -> bytearray:
    buffer = bytearray(length)
    file.seek(offset)
    if (got := file.readinto(buffer)) != length:
        raise ValueError(f"{file.name} ended after {got} of {length} bytes")
    return buffer


def _open(path: Path):
    # A store contains only its own regular files; a link may point outside of it
    return open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
