"""A vector per fact first, connectors afterwards: how a language model and a connector learn to speak of new facts.

Taught together, neither has anything to go by: the language model cannot read the connector's tokens yet, and the answers
tell the connector one word at a time. So facts get vectors of their own (`FactVectors`), which are added to the tokens of
a clip that is already understood:

1. The language model and the vectors are trained on questions, from tokens to which the facts of the scene were added
   without a mistake. Noise on what is added keeps it from relying on vectors that no connector will hit exactly.
2. The language model and the vectors are frozen. The connector is trained to output these tokens (`relative_error`), then
   to answer through the language model as well (`prompts.answer_loss`).
"""

# Axes: Q visual tokens, F facts, D language-model width

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FactVectors", "relative_error"]


class FactVectors(nn.Module):
    """A trainable vector for each fact.

    Args:
        num_facts, width: F and D.
        std: Standard deviation of the initial vectors.
        scale: The vectors are `scale` times the parameter, which so moves `scale` times as fast as a weight of the
            language model with the same learning rate.
    """

    def __init__(self, num_facts: int, width: int, *, std: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.vectors = nn.Parameter(std / scale * torch.randn(num_facts, width))

    def forward(self, facts: Tensor) -> Tensor:
        """Which facts each token tells (..., Q, F), bool → what they add to the tokens (..., Q, D)."""
        return facts.to(self.vectors.dtype) @ (self.scale * self.vectors)


def relative_error(tokens: Tensor, target: Tensor, *, is_centered: bool = True) -> Tensor:
    """Mean squared error over the variance of `target`, or over its mean square where it is not centered."""
    power = target.var() if is_centered else target.square().mean()
    return (tokens - target).square().mean() / power
