"""Write arrays over time that may not fit into memory, part by part and atomically."""

# Axes: T frames

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from vidweave.storage import atomic_path, write_atomically

__all__ = ["growing_array"]


def growing_array(path: Path, parts: Iterable[np.ndarray], seconds: np.ndarray) -> None:
    """Write parts (T_i, ...), len(seconds) frames in total, to the `.npy` file `path`, with their times beside it.

    Same layout as `media.write.write_array`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    array, filled = None, 0
    with atomic_path(path) as part_path:
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
        write_atomically(Path(f"{path}.json"), json.dumps({"pts_seconds": seconds.tolist()}).encode())
