"""Mixture of projection experts: several small transformers in parallel, weighted by each port's router.

OneLLM's universal projection (arXiv 2312.03700): query tokens and keys form one sequence, which every expert processes
bidirectionally and without positions; the result is the weighted sum of the experts' outputs at the query tokens. The
router reads the query tokens before any expert, so its weights depend only on the stream, not on the input.
"""

# Axes: R rows, Q queries, K keys, S = Q + K positions, W width, E experts

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.routers import Router
from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError
from vidweave.nn.attention import MultiHeadAttention, reset_normal
from vidweave.types import ComponentConfig, TrunkInput

__all__ = ["Expert", "ExpertMixture", "ExpertMixtureConfig"]


@dataclass(frozen=True, kw_only=True)
class ExpertMixtureConfig(ComponentConfig):
    """Sizes of the mixture; the defaults are those of OneLLM's three experts.

    Attributes:
        width: W, of keys, queries and results.
        num_experts, layers, heads, intermediate: Sizes of the experts; `heads` divides `width`.
        norm_eps: Epsilon of the RMS norms.
    """

    kind: ClassVar[str] = "expert_mixture"
    width: int = 1024
    num_experts: int = 3
    layers: int = 8
    heads: int = 16
    intermediate: int = 2816
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.width, self.num_experts, self.layers, self.heads, self.intermediate) < 1:
            raise ConfigError(f"sizes of an expert mixture must be at least 1, got {self}")

    def build(self) -> ExpertMixture:
        return ExpertMixture(self)


class _Block(nn.Module):
    """Block of LLaMA without positions and without a causal mask."""

    def __init__(self, config: ExpertMixtureConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.attention = MultiHeadAttention(width, config.heads, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.gate = nn.Linear(width, config.intermediate, bias=False)
        self.up = nn.Linear(width, config.intermediate, bias=False)
        self.down = nn.Linear(config.intermediate, width, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None, keep: int | None = None) -> Tensor:
        """tokens (R, S, W), mask (R, S) → (R, S, W), or the first `keep` positions of it."""
        normed = self.attention_norm(tokens)
        tokens = tokens[:, :keep] + self.output(self.attention(normed[:, :keep], normed, mask))
        normed = self.mlp_norm(tokens)
        return tokens + self.down(functional.silu(self.gate(normed)) * self.up(normed))


class Expert(nn.Module):
    """One expert: a stack of blocks."""

    def __init__(self, config: ExpertMixtureConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.layers))

    def forward(self, tokens: Tensor, mask: Tensor | None, keep: int) -> Tensor:
        """tokens (R, S, W), mask (R, S) → (R, keep, W): the last block only computes the kept positions."""
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            tokens = layer(tokens, mask, keep if number == last else None)
        return tokens


class ExpertMixture(Trunk):
    """See the module; the routers belong to the connector's ports."""

    def __init__(self, config: ExpertMixtureConfig) -> None:
        super().__init__()
        self.width = self.key_width = self.query_width = config.width
        self.num_experts = config.num_experts
        self.experts = nn.ModuleList(Expert(config) for _ in range(config.num_experts))
        self._routers: tuple[Router | None, ...] = ()
        reset_normal(self)

    def attach_routers(self, routers: Sequence[Router | None]) -> None:
        self._routers = tuple(routers)  # a tuple: their weights belong to the ports

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Compute the results (R, Q, W) at the query tokens.

        Raises:
            ConfigError: text, which it does not read; no query tokens; no adapter, or that of a port without a router.
        """
        self.refuse(text=inputs.text)
        queries, mask = inputs.queries, inputs.mask
        if queries is None:
            raise ConfigError("an expert mixture answers query tokens, got none")
        if mask is not None:
            mask = torch.cat([mask.new_ones(queries.shape[:2]), mask], 1)
        tokens = torch.cat([queries, inputs.keys], 1)
        weights = self._weights(queries, inputs.adapter)
        results = [expert(tokens, mask, queries.shape[1]) for expert in self.experts]
        return torch.stack(results, -1).mul(weights[:, :, None]).sum(-1)

    def _weights(self, queries: Tensor, adapter: Tensor | None) -> Tensor:
        """Compute the weights (R, Q, E), each row with the router of its port."""
        if adapter is None:
            raise ConfigError("an expert mixture needs the index of each row's port (adapter), got none")
        if adapter.is_meta:  # costs are counted on tensors without values
            return queries.new_zeros(*queries.shape[:2], self.num_experts)
        weights = None
        for index in adapter.unique().tolist():
            router = self._routers[index] if index < len(self._routers) else None
            if router is None:
                raise ConfigError(f"the connector's port {index} has no router; set router_width")
            rows = (adapter == index).nonzero().flatten()
            result = router(queries[rows])
            weights = result.new_zeros(*queries.shape[:2], self.num_experts) if weights is None else weights
            weights = weights.index_copy(0, rows, result)
        return queries.new_zeros(*queries.shape[:2], self.num_experts) if weights is None else weights
