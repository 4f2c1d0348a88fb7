"""Whitening: a linear map after which all directions of the features have the same variance."""

# Axes: N samples, C width

from __future__ import annotations

import torch
from torch import Tensor

from vidweave.errors import ShapeError

__all__ = ["whitening"]


def whitening(features: Tensor, *, floor: float = 0.02) -> tuple[Tensor, Tensor]:
    """Weight (C, C) and bias (C,) of the linear map that makes features (N, C) white: zero mean, near unit covariance.

    The directions of largest variance in a trained encoder need not be the ones that matter: if a few directions have
    nearly all variance, a randomly initialized connector uses little else for thousands of steps.

    Args:
        features: Samples; at least as many as there are directions.
        floor: Added to every variance, as a share of their mean, so that directions of no variance are not amplified.

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
