"""Routers: the weight of each expert of a shared trunk for one stream (OneLLM, arXiv 2312.03700)."""

# Axes: S positions, W width, E experts

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Router"]


class Router(nn.Module):
    """Small MLP that weights experts per token; it belongs to its stream's port.

    The weights are sigmoids, divided by their sum (OneLLM's code; its paper says softmax).

    Args:
        width: W, width of the tokens.
        hidden: Hidden width.
        num_experts: E.
    """

    def __init__(self, width: int, hidden: int, num_experts: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, num_experts)

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, W) → (…, E), positive, with a sum of 1."""
        weights = self.down(functional.gelu(self.up(tokens))).sigmoid()
        return weights / weights.sum(-1, keepdim=True)
