"""Read `.npy` files, and `.npz` archives with one array, by rows.

The header is checked against the file before anything is allocated; pickles are never loaded.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Self
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.guards import GuardedFile, sanitize
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import holds_array

__all__ = ["ArrayFile", "check_finite"]


class ArrayFile:
    """Open `.npy` file, or the only array of an `.npz` archive: `shape` and `dtype` immediately, rows on request.

    Raises:
        MediaTypeError: not an `.npy` file, or one that contains Python objects.
        MediaDecodeError: truncated, or the header does not match the file.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._file = GuardedFile(source, limits=limits)
        try:
            if holds_array(self._file.head()):
                self._file = _only_member(self._file, limits)
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    @property
    def label(self) -> str:
        return self._file.label

    def _read_header(self) -> None:
        self._file.seek(0)
        try:
            version = npy.read_magic(self._file)  # type: ignore[arg-type]
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, self._is_fortran, self.dtype = read(self._file)  # type: ignore[arg-type]
        except MediaError:
            raise
        except (ValueError, EOFError, SyntaxError, TypeError, UnicodeError):
            raise MediaTypeError(f"{self.label} is not a readable .npy file") from None
        if self.dtype.kind not in "buif" or self.dtype.hasobject:
            raise MediaTypeError(
                f"{self.label} holds {self.dtype}, but numbers were expected (Python objects are never loaded)"
            )
        self._start = self._file.tell()
        needed = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize if self.shape else self.dtype.itemsize
        if min(self.shape, default=1) < 1:
            raise MediaDecodeError(f"{self.label} is an empty array of shape {self.shape}")
        if needed > self._file.size - self._start:
            have = self._file.size - self._start
            raise MediaDecodeError(
                f"{self.label} is truncated: shape {self.shape} needs {needed:,} bytes, but there are {have:,}"
            )

    def read_all(self) -> np.ndarray:
        """Read the whole array."""
        count = int(np.prod(self.shape))
        self._check_bytes(count)
        self._file.seek(self._start)
        flat = self._numbers(count)
        self._file.check_unchanged()
        return flat.reshape(self.shape, order="F" if self._is_fortran else "C")

    def read_rows(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read rows along the first axis, in the requested order; only these are read."""
        if self._is_fortran:
            return self.read_all()[np.asarray(rows)]
        count = int(np.prod(self.shape[1:]))
        self._check_bytes(count * len(rows))
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype.newbyteorder("="))
        for i, row in enumerate(np.asarray(rows).tolist()):
            self._file.seek(self._start + row * count * self.dtype.itemsize)
            out[i] = self._numbers(count).reshape(self.shape[1:])
        self._file.check_unchanged()
        return out

    def _numbers(self, count: int) -> np.ndarray:
        missing, parts = count * self.dtype.itemsize, []
        while missing > 0 and (part := self._file.read(missing)):  # one read of an unbuffered file may return less
            parts.append(part)
            missing -= len(part)
        if missing:
            raise MediaDecodeError(f"{self.label} ended while it was being read; try again when it is complete")
        numbers = np.frombuffer(b"".join(parts), dtype=self.dtype)
        return numbers.astype(self.dtype.newbyteorder("="))

    def _check_bytes(self, count: int) -> None:
        self._limits.check("max_decoded_bytes", count * self.dtype.itemsize, f"{self.label} would take too many bytes")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _only_member(archive: GuardedFile, limits: Limits) -> GuardedFile:
    """Unpack the array of an `.npz` archive in memory, after checking the sizes in its directory."""
    limits.check("max_decoded_bytes", archive.size, f"{archive.label} would take too many bytes")
    parts = list(iter(lambda: archive.read(archive.size), b""))
    try:
        with archive, ZipFile(BytesIO(b"".join(parts))) as zipped:
            members = zipped.infolist()
            if len(members) != 1:
                names = ", ".join(member.filename for member in members[:5])
                raise MediaTypeError(f"{archive.label} holds {len(members)} arrays ({names}), but one was expected")
            limits.check("max_decoded_bytes", members[0].file_size, f"{archive.label} would take too many bytes")
            data = zipped.read(members[0])
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise MediaDecodeError(f"{archive.label} is a damaged .npz archive ({sanitize(str(error))})") from None
    inside = GuardedFile(data, limits=limits)
    inside.label = archive.label
    return inside


def check_finite(values: np.ndarray, label: str, what: str) -> None:
    """Raise MediaDecodeError if a float array contains NaN or infinity; names the first such row."""
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if not finite.all():
        rows = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        raise MediaDecodeError(
            f"{label} holds {int((~finite).sum())} values that are not finite (NaN or infinity), first in {what} {rows[0]};"
            " clean the data first"
        )
