"""Rotary position embeddings (arXiv 2104.09864) with interleaved pairs, from a computed or a stored table."""

# Axes: S positions, D width of a head

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["halves_to_pairs", "pairs_to_halves", "rotate", "sinusoid_table"]


def sinusoid_table(length: int, width: int, *, base: float = 10_000.0, device: torch.device | None = None) -> Tensor:
    """(length, width) float32: sines of position / base^(2j / width) for j < width / 2, then their cosines.

    Angles are computed in double precision for accuracy at large positions.
    """
    rate = base ** -(torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1).float()


def rotate(states: Tensor, table: Tensor) -> Tensor:
    """Rotate the pairs (2j, 2j + 1) of states (…, S, D) by the angles of `table` (S, D), laid out as `sinusoid_table`."""
    sine, cosine = table.to(states.dtype).chunk(2, -1)
    even, odd = states[..., 0::2], states[..., 1::2]
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1)
    return turned.flatten(-2)


def pairs_to_halves(weight: Tensor, heads: int) -> Tensor:
    """Rows (heads * D, …) of a projection whose pairs (2j, 2j + 1) are rotated → for one that rotates (j, j + D / 2)."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def halves_to_pairs(weight: Tensor, heads: int) -> Tensor:
    """The inverse of `pairs_to_halves`."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
