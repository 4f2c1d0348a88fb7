"""Renderer of point clouds: points of solid bodies and of hollow shells."""

# Axes: P points, n voxels along a side

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.sprites import render_ids, sprite
from vidweave.toyworld.scene import ToyScene
from vidweave.types import PointCloud

__all__ = ["POINTS_PER_OBJECT", "UNIT_METRES", "point_ids", "render_points"]

POINTS_PER_OBJECT = 192
UNIT_METRES = 0.05
"""Meters per world unit: the world is 2.4 m wide."""

_VOXELS = 16


def render_points(scene: ToyScene) -> PointCloud:
    """Sample every object of the clip as a body at the center of its path, as thick as it is wide, in meters from the
    center of the world (right, down, towards the camera), in random order. All are equally far: only depth shows range."""
    rng = np.random.default_rng([scene.seed, 15])
    bodies = []
    for obj in scene.objects:
        voxels = _voxels(obj.shape, obj.consistency)
        points = voxels[rng.integers(len(voxels), size=POINTS_PER_OBJECT)] + rng.uniform(-1, 1, (POINTS_PER_OBJECT, 3))
        middle = (*(np.asarray(obj.centre) - a.WORLD_PX / 2), 0.0)
        bodies.append(points / _VOXELS * obj.diameter / 2 + middle)
    return PointCloud((rng.permutation(np.concatenate(bodies)) * UNIT_METRES).astype(np.float32))


def point_ids(scene: ToyScene, *, size: int = a.WORLD_PX) -> np.ndarray:
    """Position (1, H, W) int8 in `scene.objects` of the body at each pixel, seen from the front; -1 for none."""
    still = {"motion": "still", "start_frame": 0, "end_frame": 1, "path_start": 0, "path_frames": 1}
    scene = replace(scene, objects=tuple(replace(obj, **still) for obj in scene.objects))
    return render_ids(scene, frames=[0], size=size)


@lru_cache(maxsize=64)
def _voxels(shape: str, consistency: str) -> np.ndarray:
    """Centers (V, 3) of the filled voxels, in half voxels from the center: the whole body, or its shell of one voxel."""
    flat = sprite(shape, _VOXELS)
    filled = np.repeat(flat[..., None], _VOXELS, axis=2)
    if consistency == "hollow":
        filled &= ~_inside(filled)
    rows, columns, layers = np.nonzero(filled)
    return 2.0 * np.stack([columns, rows, layers], axis=1) + 1 - _VOXELS


def _inside(filled: np.ndarray) -> np.ndarray:
    """Mark voxels whose six neighbors are filled."""
    padded = np.pad(filled, 1)
    inside = filled.copy()
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return inside
