"""Positions of objects in frames: shapes as masks, drawn along their paths."""

# Axes: T frames, H height, W width

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.scene import ToyObject, ToyScene

__all__ = ["Indices", "blit", "grid", "indices_of", "pixels", "render_ids", "sprite"]

Indices = Sequence[int] | np.ndarray | range | None


def render_ids(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Position (T, H, W) int8 in `scene.objects` of the object at each pixel, -1 for the background."""
    indices = indices_of(scene, frames)
    out = np.full((len(indices), size, size), -1, np.int8)
    for i, obj in enumerate(scene.objects):
        mask = sprite(obj.shape, pixels(obj, size))
        blit(out, obj, indices, mask, np.full(mask.shape, i, np.int8), size)
    return out


def indices_of(scene: ToyScene, frames: Indices) -> np.ndarray:
    """Frame indices (T,) int64, all of them for None; ConfigError for an index outside the scene."""
    if frames is None:
        return np.arange(scene.num_frames)
    indices = np.asarray(frames, dtype=np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= scene.num_frames):
        raise ConfigError(f"the scene has frames 0 to {scene.num_frames - 1}, got {indices.min()} to {indices.max()}")
    return indices


def pixels(obj: ToyObject, size: int) -> int:
    """Diameter of the object in pixels, in a frame of `size` pixels."""
    if size < 16:
        raise ConfigError(f"frames of the toy world need at least 16 pixels, got {size}")
    return max(3, round(obj.diameter * size / a.WORLD_PX))


def blit(out: np.ndarray, obj: ToyObject, indices: np.ndarray, mask: np.ndarray, paint: np.ndarray, size: int) -> None:
    """Write `paint` where `mask` is True into every frame of `out` in which the object is present; clip at the border."""
    n = len(mask)
    corners = np.rint(obj.positions(indices) * (size / a.WORLD_PX) - n / 2).astype(int).tolist()
    mask = mask[..., None] if out.ndim == 4 else mask
    for t in np.flatnonzero(obj.is_there(indices)).tolist():
        x, y = corners[t]
        if 0 <= x <= size - n and 0 <= y <= size - n:
            np.copyto(out[t, y : y + n, x : x + n], paint, where=mask)
            continue
        left, top, right, bottom = max(-x, 0), max(-y, 0), min(n, size - x), min(n, size - y)
        if left < right and top < bottom:
            part = (slice(top, bottom), slice(left, right))
            np.copyto(out[t, y + top : y + bottom, x + left : x + right], paint[part], where=mask[part])


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centers (x, y) in -1..1."""
    line = (np.arange(n) + 0.5) / n * 2 - 1
    return line[None, :], line[:, None]


@lru_cache(maxsize=256)
def sprite(shape: str, n: int) -> np.ndarray:
    """Mask (n, n) bool of the shape."""
    x, y = grid(n)
    radius = np.hypot(x, y)
    masks = {
        "circle": radius <= 1.0,
        "square": np.maximum(abs(x), abs(y)) <= 0.9,
        "triangle": abs(x) <= (y + 1) / 2,
        "cross": np.minimum(abs(x), abs(y)) <= 0.34,
        "ring": (radius <= 1.0) & (radius >= 0.52),
    }
    return masks[shape] & np.ones((n, n), bool)
