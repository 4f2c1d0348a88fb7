"""Files that are whole or absent: the only way in which the store writes, and bounded ways in which it reads."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["read_bounded", "read_range", "write_atomically"]


def write_atomically(path: Path, data: bytes, scratch: Path) -> None:
    """Put `data` at `path`, all or nothing, also when the process or the machine dies at any point.

    The bytes are written beside (`scratch`, on the same file system), forced to disk and renamed; then the folder is
    forced to disk, so that the name survives too. What fails leaves `path` as it was.

    Raises:
        OSError: whatever the file system says, e.g. that it is full.
    """
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
    _sync_folder(path.parent)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The whole file, if it is at most `max_bytes` long; raises ValueError before reading it otherwise."""
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"{path.name} has {size} bytes, at most {max_bytes} are expected")
        return file.read(size)


def read_range(path: Path, ranges: list[tuple[int, int]]) -> list[bytearray]:
    """Bytes of each (offset, length); raises ValueError, before any allocation, if the file is too short for one."""
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
    # A store holds plain files of its own; a link out of it is somebody else's
    return open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")
