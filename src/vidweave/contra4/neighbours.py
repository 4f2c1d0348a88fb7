"""Nearest neighbors by cosine similarity, computed in blocks without holding all pairs in memory."""

# Axes: N queries, M base vectors, D dimensions, K neighbours

from __future__ import annotations

import numpy as np

from vidweave.errors import ShapeError

__all__ = ["Neighbours", "nearest"]

QUERY_BLOCK = 256
BASE_BLOCK = 16_384


def nearest(queries: np.ndarray, base: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` rows of `base` with the largest dot product, best first, ties by row order: (N, K) int64.

    Args:
        queries, base: (N, D) and (M, D) floats, of unit length for cosine similarity. K is min(`count`, M).

    Raises:
        ShapeError: shapes that do not match, an empty base, or a count below 1.
    """
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1] or not len(base) or count < 1:
        raise ShapeError(
            f"expected (N, D), (M, D) with M >= 1 and a count >= 1, got {queries.shape}, {base.shape}, {count}"
        )
    blocks = [_nearest(queries[i : i + QUERY_BLOCK], base, count) for i in range(0, len(queries), QUERY_BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, min(count, len(base))), np.int64)


def _nearest(queries: np.ndarray, base: np.ndarray, count: int) -> np.ndarray:
    """Process one block of queries; holds at most QUERY_BLOCK x (BASE_BLOCK + count) products."""
    best = np.zeros((len(queries), 0), base.dtype)
    rows = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(base), BASE_BLOCK):
        products = queries @ base[start : start + BASE_BLOCK].T
        places = _largest(products, count)
        best = np.concatenate([best, np.take_along_axis(products, places, 1)], 1)
        rows = np.concatenate([rows, places + start], 1)
        keep = _largest(best, count)
        best, rows = np.take_along_axis(best, keep, 1), np.take_along_axis(rows, keep, 1)
    return rows


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` largest values of each row, largest first, ties by position."""
    if values.shape[1] <= count:
        return np.argsort(-values, axis=1, kind="stable")
    # All that exceed the count-th largest, then the first that equal it: independent of how partition orders ties
    border = -np.partition(-values, count - 1, axis=1)[:, count - 1 : count]
    above, equal = values > border, values == border
    free = count - above.sum(1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= free))
    places = np.nonzero(chosen)[1].reshape(len(values), count)
    order = np.argsort(-np.take_along_axis(values, places, 1), axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)


class Neighbours:
    """Nearest base rows of each query, computed in blocks on first access.

    ``neighbours[i]`` is (K,), best first. Memory: (N, K) int32 and one block.
    """

    def __init__(self, queries: np.ndarray, base: np.ndarray, count: int) -> None:
        self._queries, self._base, self._count = queries, base, count
        self._blocks: dict[int, np.ndarray] = {}

    def __getitem__(self, index: int) -> np.ndarray:
        block, place = divmod(index, QUERY_BLOCK)
        if block not in self._blocks:
            queries = self._queries[block * QUERY_BLOCK : (block + 1) * QUERY_BLOCK]
            self._blocks[block] = nearest(queries, self._base, self._count).astype(np.int32)
        return self._blocks[block][place]
