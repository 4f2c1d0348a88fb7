"""Content hash of a source, used as key of cached features. Names and dates are ignored."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from vidweave.media.frame_folder import list_image_files
from vidweave.media.frames import FOLDER_TIMING
from vidweave.media.guards import GuardedFile, describe, guard_folder
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.types import ArrayCarrier, Frames, PointCloud, PrecomputedFeatures, Waveform

__all__ = ["content_hash"]

_CHUNK = 2**20


def content_hash(source: Any, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return SHA-256 (hex) of a file's bytes, of a folder's images and their names, or of a carrier's arrays and times.

    An array's sidecar (`NAME.npy.json`) and a folder's `frames.json` are included, since they define the times.
    Raises:
        MediaNotFoundError, MediaAccessError, MediaTypeError, MediaDecodeError, MediaLimitError: as when opening it.
    """
    digest = hashlib.sha256()
    if isinstance(source, ArrayCarrier):
        _add_text(digest, type(source).__name__)
        for name, part in source.parts().items():
            _add_array(digest, name, part)
    elif isinstance(source, (Frames, Waveform, PointCloud, PrecomputedFeatures)):
        _add_carrier(digest, source)
    elif isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        _add_folder(digest, source, limits)
    else:
        _add_file(digest, source, limits)
        if isinstance(source, (str, os.PathLike)) and os.path.lexists(sidecar := f"{os.fspath(source)}.json"):
            _add_text(digest, "sidecar")
            _add_file(digest, sidecar, limits)
    return digest.hexdigest()


def _add_file(digest: Any, source: Any, limits: Limits) -> None:
    with GuardedFile(source, limits=limits) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        file.check_unchanged()


def _add_folder(digest: Any, folder: str | os.PathLike[str], limits: Limits) -> None:
    path = guard_folder(folder, limits=limits)
    files = list_image_files(path, describe(folder), limits)
    timing = path / FOLDER_TIMING
    for file in [*files, timing] if os.path.lexists(timing) else files:
        _add_text(digest, f"{file.name}\0{file.stat().st_size}")
        _add_file(digest, file, limits)


def _add_carrier(digest: Any, carrier: Any) -> None:
    _add_text(digest, type(carrier).__name__)
    for name in (
        "values",
        "samples",
        "coordinates",
        "features",
        "pts_seconds",
        "seconds",
        "sample_rate",
        "start_seconds",
    ):
        value = getattr(carrier, name, None)
        if value is None:
            continue
        _add_array(digest, name, value)


def _add_array(digest: Any, name: str, value: Any) -> None:
    array = np.ascontiguousarray(value)
    _add_text(digest, f"{name} {array.dtype.str} {array.shape}")
    digest.update(array.data if array.size else b"")


def _add_text(digest: Any, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    digest.update(len(data).to_bytes(8, "little") + data)
