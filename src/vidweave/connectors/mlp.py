"""MLP trunk: a stack of linear layers applied to each token. Without layers, tokens are passed on unchanged."""

# Axes: R rows, K keys, C key width, H width

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor, nn

from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError
from vidweave.types import ComponentConfig, TrunkInput

__all__ = ["HeadKind", "MLP", "MLPConfig", "head_widths"]

HeadKind = Literal["none", "linear", "mlp", "fused_mlp"]


def head_widths(kind: HeadKind, key_width: int, width: int) -> tuple[int, ...]:
    """Widths of the layers of the usual projectors to `width`: `mlp` has two, `fused_mlp` widens to four times the keys first."""
    layers = {"none": (), "linear": (width,), "mlp": (width, width), "fused_mlp": (4 * key_width, width, width)}
    return layers[kind]


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ComponentConfig):
    """Width of the keys, then of each linear layer; GELU between layers. No widths: tokens are unchanged."""

    kind: ClassVar[str] = "mlp"
    key_width: int
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min((self.key_width, *self.widths)) < 1:
            raise ConfigError(f"widths of an MLP must be positive, got {self.key_width} and {self.widths}")

    def build(self) -> MLP:
        return MLP(self.key_width, self.widths)


class MLP(Trunk):
    """keys (R, K, C) → (R, K, H), token by token."""

    def __init__(self, key_width: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (key_width, *widths)
        self.key_width, self.width = sizes[0], sizes[-1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = nn.GELU()

    def forward(self, inputs: TrunkInput) -> Tensor:
        """One token per key; the mask of the keys is the mask of the tokens.

        Raises:
            ConfigError: query tokens, text or adapters were given; an MLP takes none of them.
        """
        self.refuse(queries=inputs.queries, text=inputs.text, adapter=inputs.adapter)
        return self.project(inputs.keys)

    def project(self, keys: Tensor) -> Tensor:
        """Tokens (…, C) → (…, H)."""
        for index, layer in enumerate(self.layers):
            keys = layer(self.activation(keys) if index else keys)
        return keys
