"""Fact vectors: train one vector per fact first, then connectors, so that a language model and a connector share them.

Trained together, neither has a usable signal: the language model cannot read the connector's tokens yet, and the answers
supervise the connector one word at a time. So facts get their own vectors (`FactVectors`), which are added to the tokens of
a clip that the language model already understands:

1. The language model and the vectors are trained on questions, from tokens with the correct facts of the scene added.
   Noise on the added vectors keeps the model from relying on vectors that no connector will predict exactly.
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
        scale: The vectors are `scale` times the parameter, so that they change `scale` times as fast as a weight of the
            language model at the same learning rate.
    """

    def __init__(self, num_facts: int, width: int, *, std: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.vectors = nn.Parameter(std / scale * torch.randn(num_facts, width))

    def forward(self, facts: Tensor) -> Tensor:
        """Map the facts of each token (..., Q, F), bool, to the sum of their vectors (..., Q, D)."""
        return facts.to(self.vectors.dtype) @ (self.scale * self.vectors)


def relative_error(tokens: Tensor, target: Tensor, *, is_centered: bool = True) -> Tensor:
    """Mean squared error divided by the variance of `target`, or by its mean square if it is not centered."""
    power = target.var() if is_centered else target.square().mean()
    return (tokens - target).square().mean() / power
