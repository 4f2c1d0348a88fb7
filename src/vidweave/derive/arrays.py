"""Arrays over time that need not fit into memory: written part by part, and there whole or not at all."""

# Axes: T pictures

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

__all__ = ["growing_array"]


def growing_array(path: Path, parts: Iterable[np.ndarray], seconds: np.ndarray) -> None:
    """Write parts (T_i, ...), of len(seconds) pictures together, to the `.npy` file `path`, and their times beside it, as
    `media.write.write_array` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path = path.with_name(f".{path.name}.part")
    array, filled = None, 0
    try:
        for part in parts:
            if array is None:
                shape = (len(seconds), *part.shape[1:])
                array = open_memmap(part_path, mode="w+", dtype=part.dtype, shape=shape)
            array[filled : filled + len(part)] = part
            filled += len(part)
        assert array is not None, "no part"
        assert filled == len(seconds), (filled, len(seconds))
        array.flush()
        del array
        times = part_path.with_name(f".{path.name}.json.part")
        times.write_text(json.dumps({"pts_seconds": seconds.tolist()}))
        os.replace(times, f"{path}.json")
        os.replace(part_path, path)
    finally:
        part_path.unlink(missing_ok=True)
