"""Flow maps as patch vectors, optionally pooled over space: a compact motion representation per step.

A patch projection followed by a weighted sum over patches is linear, so the sum can come first: one vector of
2 * patch² numbers per map, then one matrix. The result is the same, with one projection per map instead of one per patch.
"""

# Axes: N patches, C numbers per patch = 2 * patch²

from __future__ import annotations

from torch import Tensor

from vidweave.errors import ShapeError

__all__ = ["flow_patches", "pool_patches"]


def flow_patches(flow: Tensor, patch: int) -> Tensor:
    """Maps (…, 2, H, W) of (x, y) displacements → (…, N, C): patches in row-major order, x before y in each.

    Raises:
        ShapeError: not two channels, or a side that is not a multiple of `patch`.
    """
    *lead, channels, height, width = flow.shape
    if channels != 2 or height % patch or width % patch:
        raise ShapeError(f"flow must be (…, 2, H, W) with sides that are multiples of {patch}, got {tuple(flow.shape)}")
    tiles = flow.reshape(-1, 2, height // patch, patch, width // patch, patch)
    count = (height // patch) * (width // patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(*lead, count, 2 * patch * patch)


def pool_patches(patches: Tensor, weight: Tensor) -> Tensor:
    """(…, N, C) and weights (N,) → (…, C): weighted sum over space."""
    if patches.shape[-2] != len(weight):
        raise ShapeError(f"there are {patches.shape[-2]} patches per map, but {len(weight)} weights")
    return weight.to(patches.dtype) @ patches
