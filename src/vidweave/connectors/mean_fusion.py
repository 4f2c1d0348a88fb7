"""Fusion that averages each stream's tokens over time: a long clip gets as many tokens as one frame."""

# Axes: R rows, T segments, Q tokens, D language-model width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from vidweave.connectors.segments import real_segments, whole_span
from vidweave.errors import UnknownNameError
from vidweave.types import Blocks, ComponentConfig

__all__ = ["MeanFusion", "MeanFusionConfig"]


@dataclass(frozen=True, kw_only=True)
class MeanFusionConfig(ComponentConfig):
    """Average each query token over the segments of a clip (as arXiv 2402.16050 pools frames).

    The output projection is linear, so it does not matter whether it comes before.

    Attributes:
        streams: Streams to average; empty is all. Every stream stays a separate block.
    """

    kind: ClassVar[str] = "mean"
    streams: tuple[str, ...] = ()

    def build(self, streams: Sequence[str] = (), width: int = 0) -> MeanFusion:
        for stream in self.streams:
            if stream not in streams:
                raise UnknownNameError("stream of the fusion", stream, streams)
        return MeanFusion(streams, self.streams or tuple(streams))

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block: one for each averaged stream that is present."""
        members = self.streams or tuple(counts)
        return {name: min(count, 1) if name in members else count for name, count in counts.items()}


class MeanFusion(nn.Module):
    """See MeanFusionConfig."""

    def __init__(self, streams: Sequence[str], members: Sequence[str]) -> None:
        super().__init__()
        self.block_names = tuple(streams)
        self.members = frozenset(members)

    def forward(self, blocks: Mapping[str, Blocks]) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Blocks per stream → blocks of the same names, and the averaged segment counts, for the Trace."""
        fused = {name: _mean(block) if name in self.members else block for name, block in blocks.items()}
        segments = {name: real_segments(blocks[name]).sum(1).tolist() for name in blocks if name in self.members}
        return fused, {"averaged": segments}


def _mean(block: Blocks) -> Blocks:
    """(R, T, Q, D) → (R, 1, Q, D) over real tokens; masked values are never read."""
    real = block.mask[..., None]
    values = block.values.masked_fill(~real, 0.0).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    span = whole_span(block.seconds, real_segments(block))[:, None]
    return replace(block, values=values, mask=block.mask.any(1, keepdim=True), seconds=span)
