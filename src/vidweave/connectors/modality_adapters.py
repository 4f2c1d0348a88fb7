"""Adapters: per-stream LoRA layers in a trunk shared by several streams (CREMA, 2.5: on a frozen Q-Former).

An adapter belongs to its stream's port, beside query tokens, norm and projections: together they are the trainable
parameters of a new modality. The trunk computes all rows of all ports at once; each row uses its own port's adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from vidweave.errors import ConfigError
from vidweave.nn.lora import Lora, Site

__all__ = ["Adapter", "AdapterConfig", "Target"]

Target = Literal["query", "key", "value", "cross_query", "cross_key", "cross_value"]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """LoRA on a trunk's linear layers; the defaults are CREMA's.

    Attributes:
        rank: r.
        alpha: The update is scaled by alpha / rank; None does not scale.
        dropout: Dropout of the adapter's input, in training.
        targets: Projections of the self-attention or the cross-attention (`cross_…`) that get LoRA.
        layers: Layers of the trunk that get LoRA; None is all.
    """

    rank: int = 64
    alpha: float | None = None
    dropout: float = 0.1
    targets: tuple[Target, ...] = ("query", "value")
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1 or not self.targets:
            raise ConfigError(f"an adapter needs a rank, a dropout below 1 and targets, got {self}")

    def build(self, name: str, sites: Mapping[Site, nn.Linear]) -> Adapter:
        """Build the adapter of stream `name` for a trunk with the linear layers `sites`.

        Raises:
            ConfigError: the trunk takes no adapter, or lacks a layer that the adapter names.
        """
        if not sites:
            raise ConfigError(f"port {name!r} has an adapter, but its trunk takes none; use a Q-Former trunk")
        layers = {layer for layer, _ in sites} if self.layers is None else set(self.layers)
        chosen = {site: linear for site, linear in sites.items() if site[0] in layers and site[1] in self.targets}
        lost = [str(layer) for layer in sorted(layers) if all(layer != at for at, _ in sites)]
        lost += [target for target in self.targets if all(target != at for _, at in chosen)]
        if lost:
            raise ConfigError(f"port {name!r} has an adapter at {', '.join(lost)}, which its trunk does not have")
        return Adapter(self, chosen)


class Adapter(nn.Module):
    """Weights of one stream's adapter: `layers.<number>.<target>.{down,up}`."""

    def __init__(self, config: AdapterConfig, sites: Mapping[Site, nn.Linear]) -> None:
        super().__init__()
        scale = 1.0 if config.alpha is None else config.alpha / config.rank
        self.layers = nn.ModuleDict()
        for (layer, target), linear in sites.items():
            if str(layer) not in self.layers:
                self.layers[str(layer)] = nn.ModuleDict()
            lora = Lora(linear.in_features, linear.out_features, config.rank, scale=scale, dropout=config.dropout)
            self.layers[str(layer)][target] = lora  # type: ignore[index]

    def sites(self) -> dict[Site, Lora]:
        """Its parts by layer and target."""
        return {(int(layer), name): lora for layer, parts in self.layers.items() for name, lora in parts.items()}  # type: ignore[union-attr]
