"""Derive surface normals: from depth by geometry, or from frames with a custom model."""

# Axes: T frames, H height, W width

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidweave.derive.arrays import growing_array
from vidweave.derive.depth import DepthEstimator
from vidweave.derive.frames import chosen_frames, source_report
from vidweave.errors import ConfigError, ShapeError
from vidweave.media.open import open_source
from vidweave.registry import Registry

__all__ = ["NORMAL_ESTIMATORS", "NormalsJob", "normals_from_depth"]

NORMAL_ESTIMATORS = Registry("normal estimator")
"""Name → a function of `Frames` (T, H, W, 3) uint8 → (T, H, W, 3) float unit vectors (right, down, towards the camera)."""

_CHUNK = 8


def normals_from_depth(depth: np.ndarray, *, field_of_view: float = 60.0) -> np.ndarray:
    """(T, H, W) or (T, H, W, 1) meters → (T, H, W, 3) float32 unit vectors: right, down, towards the camera.

    Every pixel is projected to the point where its ray meets the surface, for a pinhole camera with a horizontal field of
    view of `field_of_view` degrees; the normal is the cross product of the steps to the neighboring points, across and
    down. Of the two neighbors along each axis the one with the more similar depth is used, so that normals stay correct at
    occlusion boundaries.

    Raises:
        ShapeError: depth smaller than 2 x 2 pixels, or values that are not positive and finite.
        ConfigError: a field of view that is impossible for a pinhole camera.
    """
    if not 0 < field_of_view < 180:
        raise ConfigError(f"field_of_view must be between 0 and 180 degrees, got {field_of_view}")
    depth = depth[..., 0] if depth.ndim == 4 and depth.shape[-1] == 1 else depth
    if depth.ndim != 3 or min(depth.shape[1:]) < 2:
        raise ShapeError(f"depth must be (T, H, W) or (T, H, W, 1) of at least 2 x 2 pixels, got {depth.shape}")
    if not (np.isfinite(depth).all() and (depth > 0).all()):
        raise ShapeError("depth must be positive and finite meters everywhere; fill holes first")
    points = _points(depth.astype(np.float64), field_of_view)
    across, down = _step(points, depth, axis=2), _step(points, depth, axis=1)
    away = np.cross(across, down)
    normal = np.stack([-away[..., 0], -away[..., 1], away[..., 2]], axis=-1)
    return (normal / np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32)


def _points(depth: np.ndarray, field_of_view: float) -> np.ndarray:
    """(T, H, W, 3) meters right, down and away from the camera."""
    height, width = depth.shape[1:]
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    right = (np.arange(width) + 0.5 - width / 2) / focal
    down = (np.arange(height) + 0.5 - height / 2) / focal
    return np.stack([depth * right, depth * down[:, None], depth], axis=-1)


def _step(points: np.ndarray, depth: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the step to the next point along `axis`, or from the previous one, whichever changes depth less."""
    steps = np.diff(points, axis=axis)
    jumps = np.abs(np.diff(depth, axis=axis))
    last = [slice(None)] * 3
    last[axis] = slice(-1, None)
    first = [slice(None)] * 3
    first[axis] = slice(0, 1)
    forward = np.concatenate([steps, steps[tuple(last)]], axis=axis)
    backward = np.concatenate([steps[tuple(first)], steps], axis=axis)
    jump_forward = np.concatenate([jumps, jumps[tuple(last)]], axis=axis)
    jump_backward = np.concatenate([jumps[tuple(first)], jumps], axis=axis)
    return np.where((jump_forward <= jump_backward)[..., None], forward, backward)


@dataclass(frozen=True, kw_only=True)
class NormalsJob:
    """Write `NAME.npy` (T, H, W, 3) float32 with its times per clip.

    Attributes:
        method: `geometry`, from depth, or a name of NORMAL_ESTIMATORS, from frames.
        depth: Estimates the depth of clips that are videos; None if the clips are depth arrays in meters.
        fps: Frames per second; None is every frame.
        field_of_view: Horizontal field of view of the camera in degrees (`geometry`).
    """

    method: str = "geometry"
    depth: DepthEstimator | None = None
    fps: float | None = None
    field_of_view: float = 60.0

    def __post_init__(self) -> None:
        if self.method != "geometry":
            NORMAL_ESTIMATORS.entry(self.method)
        if self.depth is not None and self.depth.unit != "metres":
            raise ConfigError(
                f"depth model {self.depth.name!r} outputs {self.depth.unit}, but normals need meters; use a metric model"
            )

    def settings(self) -> dict[str, Any]:
        depth = None if self.depth is None else self.depth.name
        options = {"depth": depth, "field_of_view": self.field_of_view} if self.method == "geometry" else {}
        return {"kind": "normals", "method": self.method, "fps": self.fps, **options}

    def run(self, source: Path, name: str, out: Path) -> dict[str, Any]:
        is_depth = self.method == "geometry" and self.depth is None
        if is_depth and source.suffix != ".npy":
            raise ConfigError(f"{source.name} is not a depth array; give --depth-model to estimate depth from videos")
        with open_source(source, "depth" if is_depth else "video") as opened:
            indices, seconds = chosen_frames(opened, self.fps)
            growing_array(out / f"{name}.npy", self._parts(opened, indices), seconds)
            report = source_report(opened)
        return {"outputs": [f"{name}.npy", f"{name}.npy.json"], "num_frames": len(indices), **report}

    def _parts(self, opened: Any, indices: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(indices), _CHUNK):
            frames = opened.read_frames(indices[first : first + _CHUNK])
            if self.method != "geometry":
                yield np.asarray(NORMAL_ESTIMATORS.get(self.method)(frames), np.float32)
                continue
            depth = frames.values if self.depth is None else self.depth(frames)
            yield normals_from_depth(depth, field_of_view=self.field_of_view)
