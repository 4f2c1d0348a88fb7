"""The one door to files: what may be opened at all, and how a failure to read is told."""

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
    """A source as error messages name it: one line, no control characters, not endless."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the {len(source):,} bytes given"
    if not isinstance(source, (str, os.PathLike)):
        return f"a {type(source).__name__}"
    text = repr(os.fspath(source))
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME // 2]}…{text[-_MAX_NAME // 2 :]}"


def sanitize(text: str) -> str:
    """A library's error text without memory addresses or control characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", _ADDRESS.sub("…", text)).strip()


def guard_path(source: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """The path of a regular, non-empty, not oversized file that may be read; links are resolved.

    Raises:
        MediaNotFoundError: nothing is there.
        MediaAccessError: a URL, a special file, a link that leaves its folder, or no permission.
        MediaTypeError: a folder, or no path at all.
        MediaDecodeError: an empty file.
        MediaLimitError: above `Limits.max_file_bytes`.
    """
    path, info = _look(source, limits)
    if stat.S_ISDIR(info.st_mode):
        raise MediaTypeError(f"{describe(source)} is a folder, a file was expected")
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
    """The path of a folder that may be listed; same errors as `guard_path`."""
    path, info = _look(source, limits)
    if not stat.S_ISDIR(info.st_mode):
        raise MediaTypeError(f"{describe(source)} is a file, a folder was expected")
    return path


def _look(source: str | os.PathLike[str], limits: Limits) -> tuple[Path, os.stat_result]:
    if not isinstance(source, (str, os.PathLike)):
        raise MediaTypeError(f"a media source must be a path, bytes or a carrier, got {type(source).__name__}")
    text = os.fspath(source)
    if isinstance(source, str) and _URL.match(text):
        raise MediaAccessError(
            f"{describe(source)} is a URL; this release opens local files only: download it, give its path"
        )
    if "\0" in text:
        raise MediaNotFoundError(f"{describe(source)} is not a possible file name")
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
    except RuntimeError:  # Python 3.11 and 3.12 say so for a loop
        raise MediaNotFoundError(f"{describe(source)} is a link that leads back to itself") from None
    if not limits.allow_outside_links and not any(target.is_relative_to(home) for home in _homes(path)):
        raise MediaAccessError(
            f"{describe(source)} is a link that leaves its folder; give the real path, or set Limits.allow_outside_links"
        )
    return target


def _homes(path: Path) -> list[Path]:
    """Folders into which a link at `path` may lead: its own, and in the cache of a hub (`snapshots/…`) its `blobs`."""
    folder = path.parent.resolve()
    inside = next((parent for parent in (folder, *folder.parents) if parent.parent.name == "snapshots"), None)
    return [folder, *([inside.parents[1] / "blobs"] if inside else [])]


@contextmanager
def reading(source: Any) -> Iterator[None]:
    """Turn the operating system's errors into ours."""
    try:
        yield
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaNotFoundError(f"{describe(source)} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise MediaAccessError(
            f"{describe(source)} may not be read ({_reason(error)}); check its permissions"
        ) from None
    except NotADirectoryError:
        raise MediaNotFoundError(f"{describe(source)} does not exist (a part of its path is not a folder)") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MediaNotFoundError(f"{describe(source)} does not exist (the name is too long)") from None
        raise MediaAccessError(f"{describe(source)} cannot be read ({_reason(error)})") from None


def _reason(error: OSError) -> str:
    return sanitize(error.strerror or type(error).__name__)


class GuardedFile:
    """An open regular file, or bytes in memory, that passed `guard_path`; remembers what it looked like when opened.

    Offers `read`, `seek` and `tell`. It has no `name` on purpose: content decides what a file is, never its name.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.label = describe(source)
        self.source = source
        self._failure: MediaError | None = None
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.path, self.size, self._seen = None, len(source), None
            if not source:
                raise MediaDecodeError("the bytes given are empty")
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
        if not stat.S_ISREG(info.st_mode):  # it was swapped between the look and the opening
            self._file.close()
            raise MediaAccessError(f"{self.label} is no regular file")
        self.size, self._seen = info.st_size, (info.st_size, info.st_mtime_ns)

    def read(self, size: int = -1) -> bytes:
        try:
            with reading(self.source):
                return self._file.read(size)
        except MediaError as error:  # FFmpeg takes a failing read for the end of the file: it must not be forgotten
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
        """Raise MediaDecodeError if the file was written to since it was opened, or what an earlier read raised."""
        if self._failure is not None:
            raise self._failure
        if self._seen is None:
            return
        info = os.fstat(self._file.fileno())
        if (info.st_size, info.st_mtime_ns) != self._seen:
            raise MediaDecodeError(f"{self.label} changed while it was being read; try again when it is complete")

    def head(self, size: int = 64) -> bytes:
        """The first bytes; the position stays at the start."""
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
