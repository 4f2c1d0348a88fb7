"""Ports: one stream's own parameters, before and after a shared trunk."""

# Axes: R rows, T segments, N tokens, C encoder width, Q queries, H trunk width, D language-model width

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vidweave.connectors.modality_adapters import Adapter, AdapterConfig
from vidweave.connectors.routers import Router
from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import reset_normal
from vidweave.types import KeepsMemory, MergesTime, RoutesExperts, TakesAdapters

__all__ = ["Port", "PortConfig"]


@dataclass(frozen=True, kw_only=True)
class PortConfig:
    """Configuration of one stream's port: input projection, norm, time embedding, query tokens, output projection.

    Attributes:
        trunk: Name of the trunk that the port feeds.
        input_width: C, width of the stream's encoder.
        input_proj: Width of a linear layer before the norm; None is no layer. The result must be the trunk's key width.
        input_norm: LayerNorm after the projection (papers train this norm after a frozen vision tower).
        norm_eps: Its epsilon.
        num_query_tokens: Q; 0 for a trunk without queries.
        adapter: The stream's LoRA in the shared trunk; None is no adapter.
        router_width: Hidden width of the router, for a trunk with experts.
        span: `group`: the trunk processes each segment separately; `clip`: all segments of a row at once, at reading.
        num_time_positions: Rows of a learned table, added to the keys by the index of the segment in its row. It starts
            at zero, so a fresh one changes nothing. 0 is no table.
        beyond_times: Segments beyond the table: an error, or the last row again (`clamp`). `last` is for a trunk with a
            memory, of any length: only the segment at which a question is asked gets a row, `last_time_position`: training
            with a fixed number of segments, of which only the last has a gradient, trains no other row.
        last_time_position: That row; -1 is the last of the table.
        output_proj: Linear layer to the language model's width; without it the trunk must have that width.
        output_norm: LayerNorm after it.
        tags: Learned tokens of the language model's width before and after the tokens of each segment, two per segment.
        absent: How an (item, scene) without this stream is handled: an error, zeros, learned tokens, or no tokens
            (`skip`, for layouts whose slot is optional).
        num_absent_tokens: Number of tokens for an absent stream; None is `num_query_tokens`.
        legacy_text_rows: In a batch, row r of all segments reads text r modulo the number of items, not its own: a fault
            of X-InstructBLIP's released code (X4), for comparison only.
    """

    trunk: str
    input_width: int
    input_proj: int | None = None
    input_norm: bool = False
    norm_eps: float = 1e-5
    num_query_tokens: int = 0
    adapter: AdapterConfig | None = None
    router_width: int | None = None
    span: Literal["group", "clip"] = "group"
    num_time_positions: int = 0
    beyond_times: Literal["error", "clamp", "last"] = "error"
    last_time_position: int = -1
    output_proj: bool = True
    output_norm: bool = False
    tags: bool = False
    absent: Literal["error", "zero", "learned", "skip"] = "error"
    num_absent_tokens: int | None = None
    legacy_text_rows: bool = False

    @property
    def key_width(self) -> int:
        """Width of the keys that the trunk gets."""
        return self.input_width if self.input_proj is None else self.input_proj

    @property
    def absent_tokens(self) -> int:
        """Number of tokens that replace an absent stream."""
        return self.num_query_tokens if self.num_absent_tokens is None else self.num_absent_tokens

    def build(self, name: str, trunk: Trunk, output_width: int) -> Port:
        """Build the port of stream `name`.

        Raises:
            ConfigError: the port does not fit its trunk or the language model's width; the message has both numbers.
        """
        self._check(name, trunk, output_width)
        sites = trunk.sites() if isinstance(trunk, TakesAdapters) else {}
        adapter = None if self.adapter is None else self.adapter.build(name, sites)
        query_width, experts = trunk.query_width or 0, _num_experts(trunk)
        router = None if self.router_width is None else Router(query_width, self.router_width, experts)
        return Port(self, name, query_width, trunk.width, output_width, adapter, router)

    def _check_router(self, name: str, trunk: Trunk) -> None:
        experts = _num_experts(trunk)
        if (self.router_width is not None) != bool(experts):
            wants = "needs a router_width for its experts" if experts else "has no experts; leave it out"
            raise ConfigError(f"port {name!r} has router_width={self.router_width}, trunk {self.trunk!r} {wants}")
        if self.tags and (isinstance(trunk, KeepsMemory) or trunk.query_width is None):
            raise ConfigError(f"port {name!r}: tags stand around the query tokens of a trunk without a memory")

    def _check(self, name: str, trunk: Trunk, output_width: int) -> None:
        self._check_router(name, trunk)
        if self.key_width != trunk.key_width:
            raise ConfigError(
                f"port {name!r} gives keys of width {self.key_width}, trunk {self.trunk!r} reads {trunk.key_width}; "
                f"set input_proj={trunk.key_width}"
            )
        if bool(self.num_query_tokens) != (trunk.query_width is not None):
            wants = "takes no query tokens" if trunk.query_width is None else "needs query tokens"
            raise ConfigError(f"port {name!r} has {self.num_query_tokens} query tokens, trunk {self.trunk!r} {wants}")
        if not self.output_proj and trunk.width != output_width:
            raise ConfigError(
                f"port {name!r} has no output_proj, but trunk {self.trunk!r} is {trunk.width} wide and the language "
                f"model {output_width}"
            )
        has_memory = isinstance(trunk, KeepsMemory)
        if has_memory and self.span != "group":
            raise ConfigError(
                f"port {name!r}: trunk {self.trunk!r} has a memory and sees segment by segment; use span='group'"
            )
        if isinstance(trunk, MergesTime) and trunk.needs_clip and self.span != "clip":
            raise ConfigError(f"port {name!r}: trunk {self.trunk!r} merges neighboring segments; use span='clip'")
        if self.beyond_times == "last" and not -1 <= self.last_time_position < self.num_time_positions:
            raise ConfigError(
                f"port {name!r}: last_time_position ({self.last_time_position}) is not one of its "
                f"{self.num_time_positions} time positions"
            )
        if self.beyond_times == "last" and not (has_memory and self.num_time_positions):
            raise ConfigError(
                f"port {name!r}: beyond_times='last' marks the segment that the question is about; it needs a trunk with a memory "
                "and num_time_positions"
            )
        if self.absent in ("zero", "learned") and not self.absent_tokens:
            raise ConfigError(f"port {name!r} gives {self.absent} tokens for an absent stream: set num_absent_tokens")


class Port(nn.Module):
    """Weights of one stream; see PortConfig."""

    def __init__(
        self,
        config: PortConfig,
        name: str,
        query_width: int,
        trunk_width: int,
        output_width: int,
        adapter: Adapter | None = None,
        router: Router | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.trunk = config.trunk
        self.span = config.span
        self.absent = config.absent
        self.legacy_text_rows = config.legacy_text_rows
        self.beyond_times = config.beyond_times
        self.last_time_position = config.last_time_position
        self.num_absent_tokens = config.absent_tokens
        self.input_width = config.input_width
        self.output_width = output_width
        proj, width = config.input_proj, config.key_width
        self.input_proj = None if proj is None else nn.Linear(config.input_width, proj)
        self.input_norm = nn.LayerNorm(width, eps=config.norm_eps) if config.input_norm else None
        self.time_embedding = _zeros(config.num_time_positions, width)
        self.query_tokens = _zeros(1, config.num_query_tokens, query_width)
        self.output_proj = nn.Linear(trunk_width, output_width) if config.output_proj else None
        self.output_norm = nn.LayerNorm(output_width) if config.output_norm else None
        self.start_tag, self.end_tag = (_zeros(output_width) if config.tags else None for _ in range(2))
        self.absent_tokens = _zeros(config.absent_tokens, output_width) if config.absent == "learned" else None
        self.adapter, self.router = adapter, router
        reset_normal(self)
        for parameter in (self.query_tokens, self.absent_tokens, self.start_tag, self.end_tag):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)

    def keys(self, values: Tensor, mask: Tensor, first: Tensor, dtype: torch.dtype) -> Tensor:
        """Compute the trunk's keys from encoder tokens.

        Args:
            values: (R, T, N, C), real segments first; tokens outside `mask` (R, T, N) are never read.
            first: (R,) segments of each row that came before (earlier pushes).
            dtype: The trunk's dtype.

        Raises:
            ShapeError: another width than the port's, or more segments than the time table has rows.
        """
        self.check(values.shape[-1], first + mask.any(-1).sum(1))
        keys = values.to(dtype).masked_fill(~mask[..., None], 0.0)
        keys = keys if self.input_proj is None else self.input_proj(keys)
        keys = keys if self.input_norm is None else self.input_norm(keys)
        if self.time_embedding is None or self.beyond_times == "last":
            return keys
        return keys + self._times(mask, first)[:, :, None]

    def mark_last(self, keys: Tensor) -> Tensor:
        """Add the time embedding to the keys (R, K, C) of the segment that the question is about."""
        if self.time_embedding is None or self.beyond_times != "last":
            return keys
        return keys + self.time_embedding[self.last_time_position].to(keys.dtype)

    def check(self, width: int, segments: Tensor) -> None:
        """Raise ShapeError unless features of this width and these segment counts per row (R,) fit."""
        if width != self.input_width:
            raise ShapeError(f"stream {self.name!r} has width {width}, its port takes {self.input_width}")
        if self.time_embedding is None or self.beyond_times != "error":
            return
        seen = int(segments.max()) if len(segments) else 0
        if seen > len(self.time_embedding):
            raise ShapeError(
                f"stream {self.name!r} has {seen} segments, its time table {len(self.time_embedding)} rows "
                f"(num_time_positions); take fewer frames, a larger table, or beyond_times='clamp' or 'last'"
            )

    def _times(self, mask: Tensor, first: Tensor) -> Tensor:
        """(R, T, width) rows of the time table; those of masked segments are arbitrary."""
        assert self.time_embedding is not None
        position = first[:, None] + torch.arange(mask.shape[1], device=mask.device)
        return self.time_embedding[position.clamp(max=len(self.time_embedding) - 1)]

    def queries(self, rows: int) -> Tensor | None:
        """(rows, Q, H), or None for a trunk without queries."""
        return None if self.query_tokens is None else self.query_tokens.expand(rows, -1, -1)

    @property
    def num_tokens(self) -> int | None:
        """Tokens of a segment, tags included; None where the trunk decides."""
        return None if self.query_tokens is None else self.query_tokens.shape[1] + 2 * (self.start_tag is not None)

    def project(self, hidden: Tensor) -> Tensor:
        """(..., Q, H) → (..., Q, D), and two tokens more with tags."""
        tokens = hidden if self.output_proj is None else self.output_proj(hidden)
        tokens = tokens if self.output_norm is None else self.output_norm(tokens)
        if self.start_tag is None or self.end_tag is None:
            return tokens
        start, end = (tag.expand(*tokens.shape[:-2], 1, -1) for tag in (self.start_tag, self.end_tag))
        return torch.cat([start, tokens, end], -2)


def _num_experts(trunk: Trunk) -> int:
    return trunk.num_experts if isinstance(trunk, RoutesExperts) else 0


def _zeros(*shape: int) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(shape)) if min(shape) else None
