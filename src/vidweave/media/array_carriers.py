"""Read the carriers of `registry.CARRIERS`: a whole `.npy` file, with the rate in the file beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vidweave.media.arrays import ArrayFile, check_finite
from vidweave.media.frames import read_timing
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.types import ArrayCarrier

__all__ = ["read_carrier"]


def read_carrier(
    source: str | os.PathLike[str] | bytes | ArrayCarrier,
    cls: type[ArrayCarrier],
    *,
    fps: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ArrayCarrier:
    """Read an `.npy` file (or an `.npz` of one array) as `cls`; an instance of `cls` is returned unchanged.

    Args:
        fps: Values per second; None reads `fps` from `NAME.npy.json`, if it exists.

    Raises:
        MediaTypeError: not an array. MediaDecodeError: truncated, empty, or NaN or infinity in it.
        MediaLimitError: above `Limits.max_decoded_bytes`.
        ShapeError: an array that `cls` does not accept.
    """
    if isinstance(source, ArrayCarrier):
        return source
    with ArrayFile(source, limits=limits) as file:
        values, label = file.read_all(), file.label
    check_finite(values, label, "row")
    return cls.from_array(values, _rate(source, len(values) if values.ndim else 1, fps, label, limits))


def _rate(source: Any, count: int, fps: float | None, label: str, limits: Limits) -> float | None:
    sidecar = None if isinstance(source, bytes) else Path(f"{os.fspath(source)}.json")
    if fps is not None or sidecar is None or not os.path.lexists(sidecar):
        return fps
    timing = read_timing(sidecar, count, fps=None, label=label, limits=limits)
    return count / timing.duration_seconds
