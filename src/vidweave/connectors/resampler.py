"""Attentive resampler: a port's query tokens attend once to a segment's tokens and replace them."""

# Axes: R rows, K keys, C key width, Q queries, H width

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.mlp import MLP
from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError
from vidweave.nn.attention import MultiHeadAttention
from vidweave.types import ComponentConfig, TrunkInput

__all__ = ["Resampler", "ResamplerConfig"]


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig(ComponentConfig):
    """One block of cross-attention at the keys' width, then a head; the port's query tokens are the token budget.

    Attributes:
        key_width: C, of keys and queries.
        heads: Divides `key_width`.
        mlp_ratio: Expansion of the block's MLP.
        widths: Widths of the head's linear layers, GELU in between.
    """

    kind: ClassVar[str] = "resampler"
    key_width: int
    heads: int = 8
    mlp_ratio: int = 4
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min((self.key_width, self.heads, self.mlp_ratio, *self.widths)) < 1:
            raise ConfigError(f"widths, heads and mlp_ratio of a resampler must be at least 1, got {self}")

    def build(self) -> Resampler:
        return Resampler(self)


class Resampler(Trunk):
    """queries (R, Q, C), keys (R, K, C) → (R, Q, H).

    q' = q + attention(q, norm(keys)), then q' + mlp(norm(q')), then the head. The queries are not normed before
    the attention.
    """

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        width = config.key_width
        self.key_width = self.query_width = width
        self.key_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp_ratio * width)
        self.down = nn.Linear(config.mlp_ratio * width, width)
        self.head = MLP(width, config.widths)
        self.width = self.head.width
        self._reset()

    def _reset(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        for last in (self.output, self.down):  # two residual additions
            last.weight.data.mul_(2**-0.5)

    def forward(self, inputs: TrunkInput) -> Tensor:
        """See the class; a row without a real key gets its queries through the MLP alone.

        Raises:
            ConfigError: no query tokens; text or adapters, which it does not take.
        """
        self.refuse(text=inputs.text, adapter=inputs.adapter)
        if (queries := inputs.queries) is None:
            raise ConfigError("a resampler needs query tokens; set num_query_tokens of its ports")
        seen = queries + self.output(self.attention(queries, self.key_norm(inputs.keys), inputs.mask))
        return self.head.project(seen + self.down(functional.gelu(self.up(self.norm(seen)))))
