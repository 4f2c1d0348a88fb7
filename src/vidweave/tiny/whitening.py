"""Whitening: a linear map after which all directions of some features vary alike."""

# Axes: N samples, C width

from __future__ import annotations

import torch
from torch import Tensor

from vidweave.errors import ShapeError

__all__ = ["whitening"]


def whitening(features: Tensor, *, floor: float = 0.02) -> tuple[Tensor, Tensor]:
    """Weight (C, C) and bias (C,) of the linear map that makes features (N, C) white: zero mean, near unit covariance.

    What a trained encoder says loudest need not be what is asked for: where a few directions hold nearly all variance, a
    connector that starts at random hears little else for thousands of steps.

    Args:
        features: Samples; as many as there are directions, or more.
        floor: Added to every variance, as a share of their mean, so that directions that say nothing stay quiet.

    Raises:
        ShapeError: not (N, C), or fewer samples than directions.
    """
    if features.ndim != 2 or len(features) < features.shape[1]:
        raise ShapeError(f"whitening needs (N, C) with N >= C samples, got {tuple(features.shape)}")
    mean = features.mean(0)
    variance, directions = torch.linalg.eigh(torch.cov((features - mean).T))
    scale = (variance.clamp(min=0) + floor * variance.mean()).rsqrt()
    weight = (directions * scale) @ directions.T
    return weight, -(weight @ mean)
