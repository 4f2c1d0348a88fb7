"""Lift features of several views to 3D points, using depth and camera poses.

The file layout is 3D-LLM's; `media.point_pairs` reads it.
"""

# Axes: T views, H height, W width, G patches along a side, C feature width, P points, N voxels

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidweave.derive.frames import source_report
from vidweave.errors import AnnotationError, ConfigError, ShapeError
from vidweave.media.open import open_source
from vidweave.media.point_pairs import FEATURES, VOXELS
from vidweave.storage import atomic_path
from vidweave.types import Frames

__all__ = ["Cameras", "PointFeaturesJob", "features_of_points", "read_cameras"]


@dataclass(frozen=True, eq=False)
class Cameras:
    """`intrinsics` (fx, fy, cx, cy) in pixels of the depth maps, `poses` (T, 4, 4) from camera to world in meters."""

    intrinsics: tuple[float, float, float, float]
    poses: np.ndarray


def read_cameras(path: str | os.PathLike[str]) -> Cameras:
    """Read cameras from a JSON file ``{"intrinsics": [fx, fy, cx, cy], "poses": [[[…4] …4] …]}``.

    Raises:
        AnnotationError: other content, or numbers that are not finite.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        intrinsics = tuple(float(value) for value in data["intrinsics"])
        poses = np.asarray(data["poses"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnnotationError(f"{path} contains no cameras ({error!r}); give intrinsics and poses") from None
    if len(intrinsics) != 4 or poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise AnnotationError(f"{path}: expected 4 intrinsics and poses (T, 4, 4), got {intrinsics}, {poses.shape}")
    if not (np.isfinite(poses).all() and all(map(math.isfinite, intrinsics)) and min(intrinsics[:2]) > 0):
        raise AnnotationError(f"{path}: intrinsics and poses must be finite, and focal lengths positive")
    return Cameras(intrinsics, poses)  # type: ignore[arg-type]


def features_of_points(
    tokens: torch.Tensor, depth: np.ndarray, cameras: Cameras, *, grid: int = 256, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Average patch features of views per occupied voxel, over all pixels that fall into it.

    Args:
        tokens: (T, N, C) from an encoder, one per patch of a square grid in row-major order, optionally after a CLS token.
        depth: (T, H, W) meters; pixels that are 0 or not finite are skipped.
        cameras: One pose per view.
        grid: Voxels along the longest side of the scene; voxels are cubes.
        stride: Use every `stride`-th pixel along both axes.

    Returns:
        Features (N, C) float32 and voxels (N, 3) int64 in 0..grid-1, sorted by voxel.

    Raises:
        ShapeError: tokens, depth and poses that do not match, or no measured pixel at all.
    """
    depth = depth[..., 0] if depth.ndim == 4 else depth
    if depth.ndim != 3 or not len(tokens) == len(depth) == len(cameras.poses):
        raise ShapeError(
            f"tokens, depth (T, H, W) and poses must have the same number of views, got {len(tokens)}, {depth.shape} and "
            f"{len(cameras.poses)}"
        )
    points, patches = _points(depth, cameras, _side(tokens.shape[1]), stride)
    low = points.min(axis=0)
    size = max(float((points.max(axis=0) - low).max()), 1e-9)
    voxels = np.minimum((points - low) / size * grid, grid - 1).astype(np.int64)
    unique, where, count = np.unique(voxels, axis=0, return_inverse=True, return_counts=True)
    patch_tokens = tokens[:, tokens.shape[1] - _side(tokens.shape[1]) ** 2 :].flatten(0, 1).float().numpy()
    # pixel counts per (voxel, patch): features are summed without a copy for each pixel
    pairs, weight = np.unique(np.stack([where.reshape(-1), patches], axis=1), axis=0, return_counts=True)
    features = np.zeros((len(unique), tokens.shape[2]), np.float32)
    np.add.at(features, pairs[:, 0], patch_tokens[pairs[:, 1]] * weight[:, None].astype(np.float32))
    return features / count[:, None].astype(np.float32), unique


def _side(num_tokens: int) -> int:
    """Return the number of patches per side; N may include a CLS token."""
    for count in (num_tokens, num_tokens - 1):
        side = math.isqrt(count)
        if count > 0 and side * side == count:
            return side
    raise ShapeError(f"{num_tokens} tokens do not form a square grid of patches, with or without a CLS token")


def _points(depth: np.ndarray, cameras: Cameras, side: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Return world points (P, 3) of all measured pixels, and the patch (P,) of each, numbered over all views."""
    fx, fy, cx, cy = cameras.intrinsics
    height, width = depth.shape[1:]
    rows, columns = np.mgrid[:height:stride, :width:stride]
    patch = (rows * side // height) * side + columns * side // width
    rays = np.stack([(columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, np.ones(rows.shape)], axis=-1)
    points, patches = [], []
    for view, (metres, pose) in enumerate(zip(depth[:, ::stride, ::stride], cameras.poses, strict=True)):
        seen = np.isfinite(metres) & (metres > 0)
        local = rays[seen] * metres[seen][:, None]
        points.append(local @ pose[:3, :3].T + pose[:3, 3])
        patches.append(patch[seen] + view * side * side)
    if not sum(map(len, points)):
        raise ShapeError("the depth has no measured pixel (positive and finite)")
    return np.concatenate(points), np.concatenate(patches)


@dataclass(frozen=True, kw_only=True)
class PointFeaturesJob:
    """Write two files per scene, in the layout of the module.

    A scene is a folder with `color.mp4` (or a folder or array of that name), `depth.npy` (T, H, W, 1) in meters for the
    same frames, and `cameras.json`.

    Attributes:
        encode: Frames → tokens (T, N, C), e.g. a frozen tower with its preprocessing.
        encoder_name: Name of the encoder in the manifest.
        views: Number of evenly spaced frames to use; None is all.
        grid, stride: See `features_of_points`.
    """

    encode: Callable[[Frames], torch.Tensor]
    encoder_name: str
    views: int | None = 32
    grid: int = 256
    stride: int = 4

    def __post_init__(self) -> None:
        if min(self.grid, self.stride, self.views or 1) < 1:
            raise ConfigError(
                f"views, grid and stride must be at least 1, got {self.views}, {self.grid} and {self.stride}"
            )

    def settings(self) -> dict[str, Any]:
        options = {"views": self.views, "grid": self.grid, "stride": self.stride}
        return {"kind": "pointfeatures", "encoder": self.encoder_name, **options}

    def run(self, source: Path, name: str, out: Path) -> dict[str, Any]:
        home = source.parent
        cameras = read_cameras(home / "cameras.json")
        with open_source(source, "video") as video, open_source(home / "depth.npy", "depth") as depth:
            count = len(video.timeline()[0])
            if not count == len(depth.timeline()[0]) == len(cameras.poses):
                counts = (count, len(depth.timeline()[0]), len(cameras.poses))
                raise AnnotationError(
                    f"scene {name!r} has {counts} frames, depth maps and poses; the counts must be equal"
                )
            steps = np.arange(self.views) if self.views and self.views < count else None
            views = np.arange(count) if steps is None else (2 * steps + 1) * count // (2 * len(steps))
            tokens = self.encode(video.read_frames(views))
            metres = depth.read_frames(views).values
            report = source_report(video)
        chosen = Cameras(cameras.intrinsics, cameras.poses[views])
        features, voxels = features_of_points(tokens, metres, chosen, grid=self.grid, stride=self.stride)
        outputs = [f"{FEATURES}/{name}.pt", f"{VOXELS}/{name}.npy"]
        _write(out / outputs[0], lambda part: torch.save(torch.from_numpy(features), part))
        _write(out / outputs[1], lambda part: np.save(part, voxels, allow_pickle=False))
        return {"outputs": outputs, "num_points": len(voxels), **report}


def _write(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, part.open("wb") as file:
        write(file)
