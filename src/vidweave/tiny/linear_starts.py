"""Starting points of linear layers: random weights for narrow layers, and least squares."""

# Axes: N samples, I input width, O output width

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ridge_map", "set_linear", "widen"]


def widen(module: nn.Module) -> None:
    """Draw the weights of all linear and patch layers anew, by Xavier's rule.

    A standard deviation of 0.02 suits a width of 768. At 64 the products of a layer are so small that for hundreds of steps
    the module sees sums of pixels only, and a pattern is no sum.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.xavier_uniform_(layer.weight.flatten(1))


@torch.no_grad()
def set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Copy weight (O, I) and bias (O,) into a layer."""
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def ridge_map(given: Tensor, wanted: Tensor, ridge: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias (O,) of the ridge regression of `wanted` (N, O) on `given` (N, I).

    `ridge` is a share of the mean variance of `given`.
    """
    mean, target = given.mean(0), wanted.mean(0)
    centered = given - mean
    gram = centered.T @ centered / len(given)
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, centered.T @ (wanted - target) / len(given)).T
    return weight, target - weight @ mean
