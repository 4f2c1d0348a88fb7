"""Initialization of linear layers: random weights for narrow layers, and least squares."""

# Axes: N samples, I input width, O output width

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ridge_map", "set_linear", "widen"]


def widen(module: nn.Module) -> None:
    """Initialize the weights of all linear and patch layers by Xavier's rule.

    A standard deviation of 0.02 suits a width of 768. At 64 the products of a layer are so small that for hundreds of steps
    the module computes only sums of pixels, which cannot show a pattern.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.xavier_uniform_(layer.weight.flatten(1))


@torch.no_grad()
def set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Copy weight (O, I) and bias (O,) into a layer."""
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def ridge_map(inputs: Tensor, targets: Tensor, ridge: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias (O,) of the ridge regression of `targets` (N, O) on `inputs` (N, I).

    `ridge` is a share of the mean variance of `inputs`.
    """
    mean, target = inputs.mean(0), targets.mean(0)
    centered = inputs - mean
    gram = centered.T @ centered / len(inputs)
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, centered.T @ (targets - target) / len(inputs)).T
    return weight, target - weight @ mean
