"""Square grids of patch tokens: infer the side, and average-pool to another one."""

# Axes: G grids, N = S * S tokens in row-major order, C width

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vidweave.errors import ShapeError

__all__ = ["from_planes", "grid_side", "pool_grid", "to_planes"]


def grid_side(num_tokens: int, what: str) -> int:
    """Return S for N = S * S tokens; raise ShapeError naming `what` if the number is not a square."""
    side = math.isqrt(num_tokens)
    if side * side != num_tokens or not side:
        below = max(1, side * side)
        raise ShapeError(
            f"{what} needs a square number of tokens, got {num_tokens}; nearest: {below}, {(side + 1) ** 2}"
        )
    return side


def to_planes(tokens: Tensor, what: str = "a grid") -> Tensor:
    """(G, N, C) → (G, C, S, S)."""
    side = grid_side(tokens.shape[1], what)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def from_planes(planes: Tensor) -> Tensor:
    """(G, C, H, W) → (G, H * W, C)."""
    return planes.flatten(2).transpose(1, 2)


def pool_grid(tokens: Tensor, side: int, what: str = "a grid") -> Tensor:
    """(G, N, C) → (G, side * side, C): cell i averages rows floor(i * S / side) to ceil((i + 1) * S / side), and columns
    in the same way. A larger grid repeats tokens."""
    return from_planes(adaptive_avg_pool2d(to_planes(tokens, what), side))
