"""Renderers of pixel maps: depth, flow, thermal and normals."""

# Axes: T frames, H height, W width

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.sprites import Indices, blit, grid, indices_of, pixels, render_ids, sprite
from vidweave.toyworld.scene import ToyScene

__all__ = ["render_depth", "render_flow", "render_normals", "render_thermal"]

_BACKGROUND_METRES = 10.0
_BACKGROUND_CELSIUS = 20.0
_STEEPEST = 0.9  # slope of a bulge at its edge


def render_depth(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W) float32 in meters, with a centimeter of noise."""
    metres = np.array([o.distance_metres for o in scene.objects] + [_BACKGROUND_METRES], np.float32)
    depth = metres[render_ids(scene, frames=frames, size=size)]
    noise = np.random.default_rng([scene.seed, 11]).normal(0, 0.01, depth.shape[1:])
    return depth + noise.astype(np.float32)


def render_flow(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W, 2) float32: (right, down) displacement in pixels to the next frame."""
    indices = indices_of(scene, frames)
    ids = render_ids(scene, frames=indices, size=size)
    out = np.zeros((*ids.shape, 2), np.float32)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    scale = size / a.WORLD_PX
    for i, obj in enumerate(scene.objects):
        here = obj.positions(indices)
        move, centre = (obj.positions(indices + 1) - here) * scale, here * scale
        spin = a.SPINS[obj.spin]
        for t in np.flatnonzero(obj.is_there(indices)):
            visible = ids[t] == i
            right = move[t, 0] - spin * (rows[visible] + 0.5 - centre[t, 1])
            down = move[t, 1] + spin * (columns[visible] + 0.5 - centre[t, 0])
            out[t][visible] = np.stack([right, down], axis=-1)
    return out


def render_thermal(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W) float32 in degrees Celsius, with a third of a degree of noise."""
    celsius = np.array([a.TEMPERATURES[o.temperature] for o in scene.objects] + [_BACKGROUND_CELSIUS], np.float32)
    thermal = celsius[render_ids(scene, frames=frames, size=size)]
    noise = np.random.default_rng([scene.seed, 13]).normal(0, 0.3, thermal.shape[1:])
    return thermal + noise.astype(np.float32)


def render_normals(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W, 3) float32 unit vectors (right, down, towards the camera): a bulge slopes away from its center, a
    dent towards it, and the background faces the camera."""
    indices = indices_of(scene, frames)
    out = np.zeros((len(indices), size, size, 3), np.float32)
    out[..., 2] = 1
    for obj in scene.objects:
        n = pixels(obj, size)
        blit(out, obj, indices, sprite(obj.shape, n), _relief(obj.relief, n), size)
    return out


@lru_cache(maxsize=64)
def _relief(relief: str, n: int) -> np.ndarray:
    """Normals (n, n, 3) of a bulge or a dent."""
    x, y = grid(n)
    slope = _STEEPEST if relief == "bulging" else -_STEEPEST
    normal = np.stack([slope * x + 0 * y, slope * y + 0 * x, np.ones((n, n))], axis=-1)
    return (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32)
