"""Self-gated fusion: reduce any number of streams to the token count of one (CREMA, 2.6).

At each time the other streams' tokens are mapped, one matrix per stream, and added up to f; their gate is g = sigmoid(f) * f.
`gated_add` adds g to the base stream's tokens (the paper's first form), `gated_append` makes it a block of its own (the
second). The sum of one matrix per stream is the paper's one matrix over all of them side by side; kept apart, each
carries its stream's name in the weights, so that no order can be mistaken, and a stream can be added to a trained
fusion as one more matrix of zeros, which changes no bit of the old sums.
"""

# Axes: P (item, scene) pairs, T segments of the reference, Q tokens, D language-model width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.align import AlignRule, align
from vidweave.connectors.segments import first_times, real_segments
from vidweave.errors import ConfigError, ShapeError, UnknownNameError
from vidweave.types import Blocks, ComponentConfig

__all__ = ["GatedAddConfig", "GatedAppendConfig", "GatedFusion"]


@dataclass(frozen=True, kw_only=True)
class _GatedConfig(ComponentConfig):
    """Settings of both forms.

    Attributes:
        streams: Members, the base first; empty is all. Others stay separate blocks.
        align: How the other members are aligned to the base's times, see `align`.
        align_stream: The same for single members (audio: `mean_repeat`).
    """

    kind: ClassVar[str] = "gated"
    streams: tuple[str, ...] = ()
    align: AlignRule = "nearest"
    align_stream: dict[str, AlignRule] = field(default_factory=dict)

    def members(self, streams: Sequence[str]) -> tuple[str, ...]:
        """Its members among `streams`."""
        return self.streams or tuple(streams)

    def rule(self, stream: str) -> AlignRule:
        """How `stream` is aligned to the base's times."""
        return self.align_stream.get(stream, self.align)

    def _check(self, streams: Sequence[str]) -> tuple[str, ...]:
        for stream in (*self.streams, *self.align_stream):
            if stream not in streams:
                raise UnknownNameError("stream of the fusion", stream, streams)
        members = self.members(streams)
        if len(set(members)) != len(members) or len(members) < 2:
            raise ConfigError(f"a gated fusion joins two streams or more, each once, got {members}")
        return members


@dataclass(frozen=True, kw_only=True)
class GatedAddConfig(_GatedConfig):
    """Add the gate to the base's tokens; the block has the base's name."""

    kind: ClassVar[str] = "gated_add"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> GatedFusion:
        return GatedFusion(self, self._check(streams), streams, width)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block; where the base is missing, the next member gives the times."""
        members = self.members(tuple(counts))
        reference = next((counts[member] for member in members if counts[member]), 0)
        return {members[0]: reference, **_others(counts, members)}


@dataclass(frozen=True, kw_only=True)
class GatedAppendConfig(_GatedConfig):
    """Append the gate as a separate block, `name`, beside the base's."""

    kind: ClassVar[str] = "gated_append"
    name: str = "fused"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> GatedFusion:
        if self.name in streams:
            raise ConfigError(f"the fused block is named {self.name!r} like a stream; rename it")
        return GatedFusion(self, self._check(streams), streams, width)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block; where the base is missing, the next member gives the times."""
        members = self.members(tuple(counts))
        reference = next((counts[member] for member in members if counts[member]), 0)
        has_more = any(counts[member] for member in members[1:])
        fused = reference if has_more else 0
        return {members[0]: counts[members[0]], self.name: fused, **_others(counts, members)}


def _others(counts: Mapping[str, int], members: Sequence[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name not in members}


class GatedFusion(nn.Module):
    """See the module. Weights: `weights.<stream>` (D, D) for each member but the base, and `bias` (D,)."""

    def __init__(
        self, config: GatedAddConfig | GatedAppendConfig, members: Sequence[str], streams: Sequence[str], width: int
    ) -> None:
        super().__init__()
        self.config = config
        self.members = tuple(members)
        others = [stream for stream in streams if stream not in members]
        own = (config.name,) if isinstance(config, GatedAppendConfig) else ()
        self.block_names = (self.members[0], *own, *others)
        bound = (width * (len(members) - 1)) ** -0.5  # as one linear layer over all of them would start
        start = (torch.empty(width, width).uniform_(-bound, bound) for _ in self.members[1:])
        self.weights = nn.ParameterDict(dict(zip(self.members[1:], start, strict=True)))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, blocks: Mapping[str, Blocks]) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Blocks per stream, all with the same rows → named blocks, and the gates for the Trace.

        Raises:
            ShapeError: members with unequal numbers of tokens, or times that do not fit an `exact` rule.
        """
        self._check_tokens(blocks)
        base = blocks[self.members[0]]
        seconds, real, _ = first_times([blocks[member] for member in self.members])
        parts = {member: self._part(blocks[member], seconds, real, member) for member in self.members[1:]}
        mask = torch.stack([part_mask for _, part_mask in parts.values()]).any(0)
        total = self.bias.to(base.values.dtype)
        if not bool(mask.any()):  # nothing is gated: keep the bias out of the graph, see `_part`
            total = torch.zeros_like(total)
        for values, _ in parts.values():
            total = total + values
        gate = functional.silu(total).masked_fill(~mask[..., None], 0.0)
        fused = replace(base, values=gate, mask=mask, seconds=seconds)
        info = {} if self.training else {"gates": self._gates(base, total.detach(), mask, parts)}
        alone = {name: block for name, block in blocks.items() if name not in self.members}
        if isinstance(self.config, GatedAppendConfig):
            return {self.members[0]: base, self.config.name: fused, **alone}, info
        return {self.members[0]: _add(base, fused, real), **alone}, info

    def _part(self, block: Blocks, seconds: Tensor, real: Tensor, member: str) -> tuple[Tensor, Tensor]:
        """Return a member's contribution to f (P, T, Q, D), zeros where it is absent, and the mask (P, T, Q) of where it is present."""
        here = real & real_segments(block).any(1, keepdim=True)
        block = align(block, seconds, here, self.config.rule(member), member)
        values = block.values.masked_fill(~block.mask[..., None], 0.0)
        if not bool(
            values.any()
        ):  # its matrix stays out of the graph: a gradient of zero would let weight decay shrink it
            return values, block.mask
        return functional.linear(values, self.weights[member].to(values.dtype)), block.mask

    def _check_tokens(self, blocks: Mapping[str, Blocks]) -> None:
        counts = {member: blocks[member].values.shape[2] for member in self.members}
        if len(set(counts.values())) > 1:
            raise ShapeError(
                f"a gated fusion adds token to token, but its streams have unequal numbers of tokens ({counts}); give "
                "their ports equal num_query_tokens (and num_absent_tokens)"
            )

    @torch.no_grad()
    def _gates(
        self, base: Blocks, total: Tensor, mask: Tensor, parts: Mapping[str, tuple[Tensor, Tensor]]
    ) -> list[dict[str, Any]]:
        """Per (item, scene): the mean gate, and each member's share of its input (as a fraction of the sum of norms)."""
        weight = mask.float()
        gate = (total.float().sigmoid().mean(-1) * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
        norms = {name: values.float().norm(dim=-1).sum((1, 2)) for name, (values, _) in parts.items()}
        whole = torch.stack(list(norms.values())).sum(0).clamp(min=1e-12)
        shares = {name: (norm / whole).tolist() for name, norm in norms.items()}
        there = {name: part_mask.flatten(1).any(1).tolist() for name, (_, part_mask) in parts.items()}
        return [
            {"item": item, "scene": scene, "gate": value, "share": {n: shares[n][row] for n in parts if there[n][row]}}
            for row, (item, scene, value) in enumerate(
                zip(base.item.tolist(), base.scene.tolist(), gate.tolist(), strict=True)
            )
            if any(there[name][row] for name in parts)
        ]


def _add(base: Blocks, fused: Blocks, real: Tensor) -> Blocks:
    """Add the gate to the base's tokens; rows without a base hold the gate alone."""
    values, mask = base.values, base.mask
    missing = real.shape[1] - values.shape[1]
    if missing:
        values = functional.pad(values, (0, 0, 0, 0, 0, missing))
        mask = functional.pad(mask, (0, 0, 0, missing))
    has_base = real_segments(base).any(1)[:, None, None]
    return replace(fused, values=values + fused.values, mask=torch.where(has_base, mask, fused.mask))
