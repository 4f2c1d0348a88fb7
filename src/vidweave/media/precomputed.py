"""Read precomputed encoder output: a safetensors file with `values` and `seconds`."""

# Axes: T segments, N tokens per segment, C feature width

from __future__ import annotations

import os

import numpy as np
from safetensors import SafetensorError, safe_open

from vidweave.errors import MediaDecodeError, MediaTypeError
from vidweave.media.arrays import check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.types import PrecomputedFeatures

__all__ = ["read_features"]


def read_features(source: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> PrecomputedFeatures:
    """Read `values` (T, N, C) or (T, C) and `seconds` (T, 2); the file's metadata becomes `info`.

    Raises:
        MediaTypeError: not a safetensors file, or one without these two tensors in float32, float16 or float64.
        MediaDecodeError: truncated or corrupt, or NaN or infinity in it.
        MediaLimitError: above `Limits.max_decoded_bytes`.
    """
    with GuardedFile(source, limits=limits) as file:
        limits.check("max_decoded_bytes", file.size, f"{file.label} has too many bytes")
        if file.path is None or file.head(9)[8:] != b"{":
            raise MediaTypeError(f"{file.label} is not a safetensors file; write one with `values` and `seconds`")
        try:
            with safe_open(str(file.path), framework="numpy") as tensors:
                info = dict(tensors.metadata() or {})
                values, seconds = (_tensor(tensors, name, file.label) for name in ("values", "seconds"))
        except SafetensorError:
            raise MediaDecodeError(f"{file.label} is a broken safetensors file; it is truncated or corrupt") from None
        file.check_unchanged()
    if values.ndim == 2:
        values = values[:, None]
    if values.ndim != 3 or not len(values) or seconds.shape != (len(values), 2):
        raise MediaTypeError(
            f"{file.label} has values {values.shape} and seconds {seconds.shape}; expected (T, N, C) and (T, 2)"
        )
    check_finite(values, file.label, "segment")
    check_finite(seconds, file.label, "segment")
    return PrecomputedFeatures(values, seconds.astype(np.float64), info)


def _tensor(tensors: safe_open, name: str, label: str) -> np.ndarray:
    if name not in tensors.keys():  # noqa: SIM118 (safe_open is not a mapping)
        raise MediaTypeError(f"{label} has no tensor {name!r} (it has {', '.join(sorted(tensors.keys())) or 'none'})")
    try:
        values = np.asarray(tensors.get_tensor(name))
    except TypeError:  # bfloat16, which numpy does not support
        raise MediaTypeError(f"{label}: {name!r} has a type that numpy lacks; save it as float32 or float16") from None
    if values.dtype.kind != "f":
        raise MediaTypeError(f"{label}: {name!r} holds {values.dtype}, but floats were expected")
    return values
