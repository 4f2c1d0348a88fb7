"""Fusion: what becomes of the streams' blocks at the language model's width, and how the results are named."""

# Axes: R rows, T groups in time, Q tokens, D language-model width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from vidweave.connectors.align import AlignRule, align
from vidweave.connectors.groups import real_groups
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types import Blocks, ComponentConfig

__all__ = ["ConcatFusion", "ConcatFusionConfig", "NoFusion", "NoFusionConfig"]


@dataclass(frozen=True, kw_only=True)
class NoFusionConfig(ComponentConfig):
    """Every stream is a block of its own, named like the stream."""

    kind: ClassVar[str] = "none"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> NoFusion:
        return NoFusion(streams)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Groups in time per stream → per block."""
        return dict(counts)


class NoFusion(nn.Module):
    """See NoFusionConfig."""

    def __init__(self, streams: Sequence[str]) -> None:
        super().__init__()
        self.block_names = tuple(streams)

    def forward(self, blocks: Mapping[str, Blocks]) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Blocks per stream → named blocks, and information for the Trace."""
        return dict(blocks), {}


@dataclass(frozen=True, kw_only=True)
class ConcatFusionConfig(ComponentConfig):
    """Several streams' tokens side by side, group by group, in one block.

    Attributes:
        name: Of the block.
        streams: Which, in this order; empty is all. The first one gives the times. Others stay blocks of their own.
        align: How the other streams come to the first one's times, see `align`.
    """

    kind: ClassVar[str] = "concat"
    name: str = "fused"
    streams: tuple[str, ...] = ()
    align: AlignRule = "nearest"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> ConcatFusion:
        for stream in self.streams:
            if stream not in streams:
                raise UnknownNameError("stream of the fusion", stream, streams)
        return ConcatFusion(self.name, self.streams or tuple(streams), streams, self.align)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Groups in time per stream → per block; the first member gives the times."""
        members = self.streams or tuple(counts)
        return {self.name: counts[members[0]], **{n: c for n, c in counts.items() if n not in members}}


class ConcatFusion(nn.Module):
    """See ConcatFusionConfig."""

    def __init__(self, name: str, members: Sequence[str], streams: Sequence[str], rule: AlignRule) -> None:
        super().__init__()
        others = [stream for stream in streams if stream not in members]
        if name in others:
            raise ConfigError(f"the fused block is named {name!r} like a stream that is not fused; rename it")
        self.name, self.members = name, tuple(members)
        self.rule: AlignRule = rule
        self.block_names = (name, *others)

    def forward(self, blocks: Mapping[str, Blocks]) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Blocks per stream, all with the same rows → named blocks, and information for the Trace."""
        first = blocks[self.members[0]]
        real = real_groups(first)
        others = [align(blocks[m], first.seconds, real, self.rule, m) for m in self.members[1:]]
        values = torch.cat([first.values, *(other.values for other in others)], dim=2)
        mask = torch.cat([first.mask, *(other.mask for other in others)], dim=2)
        fused = replace(first, values=values, mask=mask)
        alone = {name: block for name, block in blocks.items() if name not in self.members}
        return {self.name: fused, **alone}, {"fused": {self.name: list(self.members)}}
