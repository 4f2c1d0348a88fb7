"""Read float maps of single frames: `.flo` (flow of Middlebury and Sintel) and `.pfm`."""

# Axes: H height, W width, K channels

from __future__ import annotations

import re

import numpy as np

from vidweave.errors import MediaDecodeError, MediaTypeError
from vidweave.media.arrays import check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits

__all__ = ["MAP_SUFFIXES", "read_map"]

MAP_SUFFIXES = (".flo", ".pfm")
_PFM = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(-?[0-9.eE+-]{1,20})[\r\n ]")
_UNKNOWN_FLOW = 1e9  # Middlebury marks pixels with unknown flow by larger values


def read_map(file: GuardedFile, *, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Read one map (H, W, K) float32: `.flo` has two channels, right and down in pixels; `.pfm` has one or three.

    Raises:
        MediaTypeError: neither format. MediaDecodeError: truncated, or NaN, infinity or unknown flow in it.
        MediaLimitError: above `Limits.max_pixels`.
    """
    head = file.head(128)
    if head.startswith(b"PIEH"):
        width, height = (int(n) for n in np.frombuffer(head[4:12].ljust(8, b"\0"), "<i4"))
        start, channels, order = 12, 2, "<"
    elif match := _PFM.match(head):
        width, height, channels = int(match[2]), int(match[3]), 3 if match[1] == b"PF" else 1
        start, order = match.end(), "<" if match[4].startswith(b"-") else ">"
    else:
        raise MediaTypeError(f"{file.label} has no readable header of a .flo or .pfm file")
    if width < 1 or height < 1:
        raise MediaDecodeError(f"{file.label} claims a size of {width}x{height} pixels; it is corrupt")
    limits.check("max_pixels", width * height, f"{file.label} has too many pixels")
    values = _floats(file, start, width * height * channels, order).reshape(height, width, channels)
    if head.startswith(b"PIEH"):
        _check_known(values, file.label)
        return values
    check_finite(values, file.label, "row")
    return values[::-1].copy()  # .pfm starts with the bottom row


def _floats(file: GuardedFile, start: int, count: int, order: str) -> np.ndarray:
    if 4 * count > file.size - start:
        raise MediaDecodeError(
            f"{file.label} is truncated: {4 * count:,} bytes are needed, but there are {file.size - start:,}"
        )
    file.seek(start)
    parts, left = [], 4 * count
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    file.check_unchanged()
    return np.frombuffer(b"".join(parts), f"{order}f4", count).astype(np.float32)


def _check_known(flow: np.ndarray, label: str) -> None:
    check_finite(flow, label, "row")
    unknown = int((np.abs(flow) > _UNKNOWN_FLOW).any(axis=2).sum())
    if unknown:
        raise MediaDecodeError(f"{label} has {unknown} pixels with unknown flow; fill them first")
