"""Helpers for candidate timestamps: validation and the span covered by the real ones."""

# Axes: R rows, C candidates

from __future__ import annotations

import torch
from torch import Tensor

from vidweave.errors import ShapeError

__all__ = ["check_candidates", "covered_span"]


def check_candidates(candidates: Tensor, mask: Tensor) -> None:
    """Raise ShapeError unless both are (R, C)."""
    if candidates.ndim != 2 or candidates.shape != mask.shape:
        raise ShapeError(f"candidates and mask must be (R, C), got {tuple(candidates.shape)} and {tuple(mask.shape)}")


def covered_span(candidates: Tensor, mask: Tensor) -> Tensor:
    """Candidates (R, C) in seconds → (R, 2): first and last real one; zeros for a row without any."""
    if not candidates.shape[1]:
        return candidates.new_zeros(len(candidates), 2)
    first = candidates.masked_fill(~mask, torch.inf).amin(1)
    last = candidates.masked_fill(~mask, -torch.inf).amax(1)
    return torch.stack([first, last], -1).masked_fill(~mask.any(1, keepdim=True), 0.0)
