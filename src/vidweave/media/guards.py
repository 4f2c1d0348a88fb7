"""Guarded access to files: what may be opened, and how read failures are reported."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self

from vidweave.errors import (
    MediaAccessError,
    MediaDecodeError,
    MediaError,
    MediaNotFoundError,
    MediaTypeError,
)
from vidweave.media.limits import DEFAULT_LIMITS, Limits

__all__ = ["GuardedFile", "describe", "guard_folder", "guard_path", "sanitize"]

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:(//|\\\\)|^(data|pipe|concat|subfile|crypto|async|cache|fd|file):")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)
_MAX_NAME = 160


def describe(source: Any) -> str:
    """Return the name of a source for error messages: one line, no control characters, limited length."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the {len(source):,} given bytes"
    if not isinstance(source, (str, os.PathLike)):
        return f"a {type(source).__name__}"
    text = repr(os.fspath(source))
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME // 2]}…{text[-_MAX_NAME // 2 :]}"


def sanitize(text: str) -> str:
    """Return a library's error text without memory addresses or control characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", _ADDRESS.sub("…", text)).strip()


def guard_path(source: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Return the path of a regular, non-empty, readable file within the size limit; links are resolved.

    Raises:
        MediaNotFoundError: nothing exists there.
        MediaAccessError: a URL, a special file, a link that leaves its folder, or no permission.
        MediaTypeError: a folder, or not a path.
        MediaDecodeError: an empty file.
        MediaLimitError: above `Limits.max_file_bytes`.
    """
    path, info = _look(source, limits)
    if stat.S_ISDIR(info.st_mode):
        raise MediaTypeError(f"{describe(source)} is a folder, but a file was expected")
    for is_kind, kind in _SPECIAL:
        if is_kind(info.st_mode):
            raise MediaAccessError(
                f"{describe(source)} is {kind}; only regular files are read, copy its content to one"
            )
    if info.st_size == 0:
        raise MediaDecodeError(f"{describe(source)} is empty (0 bytes)")
    limits.check("max_file_bytes", info.st_size, f"{describe(source)} has too many bytes")
    return path


def guard_folder(source: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Return the path of a folder that may be listed; same errors as `guard_path`."""
    path, info = _look(source, limits)
    if not stat.S_ISDIR(info.st_mode):
        raise MediaTypeError(f"{describe(source)} is a file, but a folder was expected")
    return path


def _look(source: str | os.PathLike[str], limits: Limits) -> tuple[Path, os.stat_result]:
    if not isinstance(source, (str, os.PathLike)):
        raise MediaTypeError(f"a media source must be a path, bytes or a carrier, got {type(source).__name__}")
    text = os.fspath(source)
    if isinstance(source, str) and _URL.match(text):
        raise MediaAccessError(
            f"{describe(source)} is a URL, but only local files can be opened; download it and give its path"
        )
    if "\0" in text:
        raise MediaNotFoundError(f"{describe(source)} is not a valid file name")
    with reading(source):
        path = Path(text)
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            path = _follow(path, source, limits)
            info = os.stat(path)
    return path, info


def _follow(path: Path, source: Any, limits: Limits) -> Path:
    try:
        target = path.resolve(strict=True)
    except RuntimeError:  # raised by Python 3.11 and 3.12 for a loop
        raise MediaNotFoundError(f"{describe(source)} is a link that leads back to itself") from None
    if not limits.allow_outside_links and not any(target.is_relative_to(home) for home in _homes(path)):
        raise MediaAccessError(
            f"{describe(source)} is a link that leaves its folder; give the real path, or set Limits.allow_outside_links"
        )
    return target


def _homes(path: Path) -> list[Path]:
    """Return folders into which a link at `path` may lead: its own, and `blobs` in a hub cache (`snapshots/…`)."""
    folder = path.parent.resolve()
    inside = next((parent for parent in (folder, *folder.parents) if parent.parent.name == "snapshots"), None)
    return [folder, *([inside.parents[1] / "blobs"] if inside else [])]


@contextmanager
def reading(source: Any) -> Iterator[None]:
    """Convert the operating system's errors to ours."""
    try:
        yield
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaNotFoundError(f"{describe(source)} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise MediaAccessError(f"{describe(source)} cannot be read ({_reason(error)}); check its permissions") from None
    except NotADirectoryError:
        raise MediaNotFoundError(f"{describe(source)} does not exist (a part of its path is not a folder)") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MediaNotFoundError(f"{describe(source)} does not exist (the name is too long)") from None
        raise MediaAccessError(f"{describe(source)} cannot be read ({_reason(error)})") from None


def _reason(error: OSError) -> str:
    return sanitize(error.strerror or type(error).__name__)


class GuardedFile:
    """Open regular file, or bytes in memory, that passed `guard_path`; remembers its state when opened.

    Has `read`, `seek` and `tell`, but intentionally no `name`: the type is determined by content, never by name.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.label = describe(source)
        self.source = source
        self._failure: MediaError | None = None
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.path, self.size, self._seen = None, len(source), None
            if not source:
                raise MediaDecodeError("the given bytes are empty")
            limits.check("max_file_bytes", len(source), f"{self.label} are too many")
            self._file: BinaryIO = BytesIO(source)
            return
        self.path = guard_path(source, limits=limits)
        with reading(source):
            flags = (
                os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            )
            handle = os.open(self.path, flags)
            self._file = os.fdopen(handle, "rb", buffering=0)
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):  # it was replaced between the check and the open
            self._file.close()
            raise MediaAccessError(f"{self.label} is not a regular file")
        self.size, self._seen = info.st_size, (info.st_size, info.st_mtime_ns)

    def read(self, size: int = -1) -> bytes:
        try:
            with reading(self.source):
                return self._file.read(size)
        except MediaError as error:  # FFmpeg treats a failing read as the end of the file, so keep the error
            self._failure = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        with reading(self.source):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def check_unchanged(self) -> None:
        """Raise MediaDecodeError if the file was modified since it was opened, or the error of an earlier read."""
        if self._failure is not None:
            raise self._failure
        if self._seen is None:
            return
        info = os.fstat(self._file.fileno())
        if (info.st_size, info.st_mtime_ns) != self._seen:
            raise MediaDecodeError(f"{self.label} changed while it was being read; try again when it is complete")

    def head(self, size: int = 64) -> bytes:
        """Return the first bytes; the position stays at the start."""
        self.seek(0)
        head = self.read(size)
        self.seek(0)
        return head

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
