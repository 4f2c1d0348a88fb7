"""All-pairs correlations between two frames, sampled around the positions given by a flow."""

# Axes: B pairs, C channels, h and w of the features, r radius, n = 2r + 1

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CorrelationPyramid", "pixel_grid"]


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(2, h, w): x and y of each point."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).to(like)


class CorrelationPyramid:
    """All-pairs correlations at four scales of the second frame; memory (h * w)² per pair.

    Args:
        first, second: (B, C, h, w).
    """

    def __init__(self, first: Tensor, second: Tensor, *, levels: int = 4, radius: int = 4) -> None:
        batch, channels, height, width = first.shape
        score = first.flatten(2).mT @ second.flatten(2) / channels**0.5
        self.levels = [score.view(batch * height * width, 1, height, width)]
        for _ in range(levels - 1):
            self.levels.append(functional.avg_pool2d(self.levels[-1], 2))
        self.radius = radius

    def around(self, points: Tensor) -> Tensor:
        """Points (B, 2, h, w), in pixels of the second frame → (B, levels * n², h, w), bilinear, zero outside.

        The first axis of a window moves x, the second y, as in training of the released weights.
        """
        batch, _, height, width = points.shape
        centre = points.permute(0, 2, 3, 1).reshape(-1, 2)
        windows = [_window(score, centre / 2**level, self.radius) for level, score in enumerate(self.levels)]
        return torch.cat(windows, 1).view(batch, height, width, -1).permute(0, 3, 1, 2)


def _window(score: Tensor, centre: Tensor, radius: int) -> Tensor:
    """Score (P, 1, h, w), centers (P, 2) as (x, y) → (P, n²).

    All points of a window have the same fraction, so the n + 1 by n + 1 integer points around it are read once and
    interpolated, instead of four reads per point.
    """
    height, width = score.shape[-2:]
    offset = torch.arange(-radius, radius + 2, device=score.device)
    corner = centre.floor()
    fraction = centre - corner
    # More than a window beyond the border everything is zero; the clamp keeps far points within int64.
    x = corner[:, :1].clamp(-1e6, 1e6).long() + offset
    y = corner[:, 1:].clamp(-1e6, 1e6).long() + offset
    is_inside = ((x >= 0) & (x < width))[:, :, None] & ((y >= 0) & (y < height))[:, None]
    place = y.clamp(0, height - 1)[:, None] * width + x.clamp(0, width - 1)[:, :, None]
    whole = score.flatten(1).gather(1, place.flatten(1)).view(place.shape) * is_inside
    right, down = fraction[:, 0, None, None], fraction[:, 1, None, None]
    along_x = whole[:, :-1] * (1 - right) + whole[:, 1:] * right
    return (along_x[:, :, :-1] * (1 - down) + along_x[:, :, 1:] * down).flatten(1)
