"""Fusion: combine the streams' blocks at the language model's width, and name the results."""

# Axes: R rows, T segments, Q tokens, D language-model width

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.align import AlignRule, align
from vidweave.connectors.segments import compact, real_segments
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types import Blocks, ComponentConfig

__all__ = ["ConcatFusion", "ConcatFusionConfig", "Join", "JoinConfig", "NoFusion", "NoFusionConfig"]


@dataclass(frozen=True, kw_only=True)
class NoFusionConfig(ComponentConfig):
    """No fusion: every stream stays a block of its own, named like the stream."""

    kind: ClassVar[str] = "none"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> NoFusion:
        return NoFusion(streams)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block."""
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
class JoinConfig(ComponentConfig):
    """Base of fusions that join several streams in one block.

    Attributes:
        name: Name of the joined block.
        streams: Streams to join, in this order; empty is all. The first one gives the times. Others stay separate blocks.
        align: How the other streams are aligned to the first one's times, see `align`.
    """

    name: str = "fused"
    streams: tuple[str, ...] = ()
    align: AlignRule = "nearest"

    def members(self, streams: Iterable[str]) -> tuple[str, ...]:
        """The streams to join; raises UnknownNameError for one that is not among `streams`."""
        streams = tuple(streams)
        for stream in self.streams:
            if stream not in streams:
                raise UnknownNameError("stream of the fusion", stream, streams)
        return self.streams or streams

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block; the first member that is present gives the times."""
        members = self.streams or tuple(counts)
        shown = next((counts[name] for name in members if counts[name]), 0)
        return {self.name: shown, **{n: c for n, c in counts.items() if n not in members}}

    def check_counts(self, counts: Mapping[str, int]) -> None:
        """Check that the segments per stream, where they are known before any clip is seen, fit the alignment.

        Raises:
            ConfigError: numbers that cannot be joined; the message names the streams.
        """
        known = {name: counts[name] for name in self.members(counts) if counts[name] > 1}
        if self.align not in ("exact", "in_order") or len(set(known.values())) < 2:
            return
        odd = ", ".join(f"{name!r} {count}" for name, count in known.items())
        raise ConfigError(
            f"the streams joined to block {self.name!r} (align={self.align!r}) have unequal numbers of segments: "
            f"{odd}; give them equal ones (num_frames, pool.time, pool.steps), or align='nearest' or 'mean_repeat'"
        )


class Join(nn.Module):
    """See JoinConfig; a subclass defines `join`, which combines the aligned members.

    `shares_places`: the joined block has as many tokens as one member, not as all together.
    """

    shares_places: ClassVar[bool] = False

    def __init__(self, config: JoinConfig, streams: Sequence[str]) -> None:
        super().__init__()
        members = config.members(streams)
        others = [stream for stream in streams if stream not in members]
        if config.name in others:
            raise ConfigError(f"the fused block is named {config.name!r} like a stream that is not fused; rename it")
        self.name, self.members = config.name, members
        self.rule: AlignRule = config.align
        self.block_names = (config.name, *others)

    def join(self, members: list[Blocks]) -> tuple[Blocks, dict[str, Any]]:
        """Join blocks with equal rows and segments to one block; also returns information for the Trace."""
        raise NotImplementedError(f"{type(self).__name__} has no join")

    def aligned(self, blocks: Mapping[str, Blocks]) -> list[Blocks]:
        """Align the members to the first one's times; a row where it is absent takes the times of the first that is present."""
        first = blocks[self.members[0]]
        seconds, real = first.seconds, real_segments(first)
        for name in self.members[1:]:
            seconds, real = _stand_in(seconds, real, blocks[name])
        others = [align(blocks[m], seconds, real, self.rule, m) for m in self.members[1:]]
        return [_pad_segments(first, seconds), *others]

    def forward(self, blocks: Mapping[str, Blocks]) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Blocks per stream, all with the same rows → named blocks, and information for the Trace."""
        fused, info = self.join(self.aligned(blocks))
        alone = {name: block for name, block in blocks.items() if name not in self.members}
        return {self.name: fused, **alone}, {"fused": {self.name: list(self.members)}, **info}


@dataclass(frozen=True, kw_only=True)
class ConcatFusionConfig(JoinConfig):
    """Concatenate several streams' tokens in one block: side by side in each segment, or one stream after the other.

    Attributes:
        along: `group`: the tokens of all streams at one time are adjacent. `stream`: all segments of the first stream,
            then all of the next.
    """

    kind: ClassVar[str] = "concat"
    along: Literal["group", "stream"] = "group"

    def build(self, streams: Sequence[str] = (), width: int = 0) -> ConcatFusion:
        return ConcatFusion(self, streams)

    def block_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Segments per stream → per block."""
        plain = super().block_counts(counts)
        if self.along == "group":
            return plain
        return {**plain, self.name: sum(counts[name] for name in self.streams or tuple(counts))}

    def check_counts(self, counts: Mapping[str, int]) -> None:
        """Streams that follow one another may have any numbers of segments."""
        if self.along == "group":
            super().check_counts(counts)


class ConcatFusion(Join):
    """See ConcatFusionConfig."""

    def __init__(self, config: ConcatFusionConfig, streams: Sequence[str]) -> None:
        super().__init__(config, streams)
        self.along = config.along

    def aligned(self, blocks: Mapping[str, Blocks]) -> list[Blocks]:
        return super().aligned(blocks) if self.along == "group" else [blocks[name] for name in self.members]

    def join(self, members: list[Blocks]) -> tuple[Blocks, dict[str, Any]]:
        if self.along == "group":
            return _cat(members, 2), {}
        most = max(block.mask.shape[2] for block in members)
        return compact(_cat([_pad_tokens(block, most) for block in members], 1)), {}


def _cat(members: list[Blocks], axis: int) -> Blocks:
    values, mask = (torch.cat([getattr(m, part) for m in members], axis) for part in ("values", "mask"))
    seconds = torch.cat([m.seconds for m in members], 1) if axis == 1 else members[0].seconds
    return replace(members[0], values=values, mask=mask, seconds=seconds)


def _pad_tokens(block: Blocks, tokens: int) -> Blocks:
    more = tokens - block.mask.shape[2]
    if not more:
        return block
    values, mask = functional.pad(block.values, (0, 0, 0, more)), functional.pad(block.mask, (0, more))
    return replace(block, values=values, mask=mask)


def _stand_in(seconds: Tensor, real: Tensor, other: Blocks) -> tuple[Tensor, Tensor]:
    """Times (R, T, 2) and real (R, T): rows without a real segment take those of `other`."""
    empty = ~real.any(1) & real_segments(other).any(1)
    if not bool(empty.any()):
        return seconds, real
    segments = max(real.shape[1], other.mask.shape[1])
    seconds, theirs = (_to_segments(s, segments) for s in (seconds, other.seconds))
    real, requested = (_to_segments(r, segments) for r in (real, real_segments(other)))
    return torch.where(empty[:, None, None], theirs, seconds), torch.where(empty[:, None], requested, real)


def _pad_segments(block: Blocks, seconds: Tensor) -> Blocks:
    """Pad `block` to the segments of `seconds` (R, T, 2), masked where it had none."""
    values, mask = (_to_segments(part, seconds.shape[1]) for part in (block.values, block.mask))
    return replace(block, values=values, mask=mask, seconds=seconds)


def _to_segments(values: Tensor, segments: int) -> Tensor:
    """Pad axis 1 with zeros to `segments`."""
    missing = segments - values.shape[1]
    return functional.pad(values, [0, 0] * (values.ndim - 2) + [0, missing]) if missing else values
