"""Geometry of point sets: farthest point sampling and nearest neighbors."""

# Axes: B clouds, P points, G chosen points, K neighbors

from __future__ import annotations

import torch
from torch import Tensor

from vidweave.errors import ShapeError

__all__ = ["farthest_points", "nearest_points", "take_points"]


def farthest_points(points: Tensor, count: int, first: int | Tensor = 0) -> Tensor:
    """Farthest point sampling: each point is the farthest from all earlier ones; ties go to the first.

    Args:
        points: (B, P, 3).
        count: G.
        first: Index of the first point, for all clouds or (B,).

    Returns:
        (B, G) indices.

    Raises:
        ShapeError: `first` is not the index of a point.
    """
    clouds, available = points.shape[:2]
    last = torch.as_tensor(first, device=points.device).expand(clouds)
    if not points.is_meta and clouds and not 0 <= int(last.min()) <= int(last.max()) < available:
        raise ShapeError(f"the first point must be one of 0..{available - 1}, got {last.tolist()}")
    chosen = torch.zeros(clouds, count, dtype=torch.int64, device=points.device)
    distance = points.new_full((clouds, available), torch.inf)
    rows = torch.arange(clouds, device=points.device)
    for step in range(count):
        chosen[:, step] = last
        distance = distance.minimum((points - points[rows, last][:, None]).square().sum(-1))
        last = distance.argmax(-1)
    return chosen


def nearest_points(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Return indices (B, G, K) of the points (B, P, 3) nearest to each center (B, G, 3), sorted by distance.

    Raises:
        ShapeError: fewer points than `count`.
    """
    if points.shape[1] < count:
        raise ShapeError(f"a cloud of {points.shape[1]} points does not have {count} neighbors; use more points")
    # Differences, not the product form, which loses the digits that distinguish near neighbors.
    distance = torch.cdist(centers, points, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(count, dim=-1, largest=False).indices


def take_points(points: Tensor, index: Tensor) -> Tensor:
    """Gather points (B, P, C) at index (B, ...) → (B, ..., C)."""
    rows = torch.arange(len(points), device=points.device).view(-1, *[1] * (index.ndim - 1))
    return points[rows, index]
