"""A trunk's memory over time, with one pending segment: pushed, but not yet known whether it is the last."""

# Axes: M rows of a trunk's memory = its ports * P (item, scene) pairs, T segments, K keys, C key width, Q queries

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.connectors.segments import compact, real_segments, whole_span
from vidweave.nn.bank import UndoLog
from vidweave.types import Features, KeepsMemory, TrunkInput

__all__ = [
    "MAX_TRACE_TOKENS",
    "MemoryState",
    "evaluate_pending",
    "push_segments",
    "stack_ports",
    "start_memory",
    "tell_memory",
]

MAX_TRACE_TOKENS = 64  # token positions whose memory a Trace reports, unless all are requested


@dataclass(frozen=True, eq=False)
class MemoryState:
    """Memory of one trunk, for the rows of all its ports (port by port, each with all pairs)."""

    memory: Any  # the trunk's own value: all segments but the pending one
    keys: Tensor  # (M, K, C) the pending segment
    mask: Tensor  # (M, K) bool; all False: nothing seen yet
    seconds: Tensor  # (M, 2) from the first start to the last end
    count: Tensor  # (M,) int64 segments seen, the pending one included


def start_memory(trunk: KeepsMemory, rows: TrunkInput) -> MemoryState:
    """Create the memory of rows that have seen nothing; `rows` has no keys (M, 0, C)."""
    size, device = len(rows.keys), rows.keys.device
    return MemoryState(
        memory=trunk.empty_memory(rows),
        keys=rows.keys,
        mask=torch.zeros(size, 0, dtype=torch.bool, device=device),
        seconds=torch.zeros(size, 2, device=device),
        count=torch.zeros(size, dtype=torch.long, device=device),
    )


def push_segments(
    trunk: KeepsMemory, rows: TrunkInput, state: MemoryState, keys: Features, undo_log: UndoLog | None = None
) -> MemoryState:
    """Return the state after `keys` (M rows): the pending segment and all new ones but the last are committed."""
    seconds = torch.cat([state.seconds[:, None], keys.seconds], 1)
    real = torch.cat([state.count[:, None] > 0, real_segments(keys)], 1)
    line = _behind_pending(state, keys)
    count = real_segments(line).sum(1)
    is_last = torch.arange(line.mask.shape[1], device=count.device) == (count - 1)[:, None]
    committed = line.mask & ~is_last[..., None]
    num_committed = int((count - 1).clamp(min=0).max()) if len(count) else 0
    memory = state.memory
    if num_committed:
        past = rows.with_keys(line.values[:, :num_committed], committed[:, :num_committed])
        memory = trunk.commit(past, memory, undo_log)
    return MemoryState(
        memory=memory,
        keys=_pick_last(line.values, count),
        mask=_pick_last(line.mask, count),
        seconds=whole_span(seconds, real),
        count=state.count + real_segments(keys).sum(1),
    )


def evaluate_pending(trunk: KeepsMemory, rows: TrunkInput, state: MemoryState) -> Tensor:
    """Compute the trunk's output (M, Q, H) as if the pending segment were the last; changes nothing."""
    assert rows.queries is not None
    return trunk.evaluate(rows.with_keys(state.keys, state.mask), state.memory)[:, : rows.queries.shape[1]]


def tell_memory(trunk: KeepsMemory, state: MemoryState, row: int, full: bool) -> dict[str, Any]:
    """Summarize a row for the Trace: segments seen (the pending one included), their span, and the trunk's account."""
    summary = trunk.account(state.memory, row, None if full else MAX_TRACE_TOKENS)
    return {"segments": int(state.count[row]), "seconds": state.seconds[row].tolist(), **summary}


def stack_ports(ports: Sequence[Features]) -> Features:
    """Stack the rows of several ports; segments and tokens are padded to the longest."""
    segments = max(port.values.shape[1] for port in ports)
    tokens = max(port.values.shape[2] for port in ports)

    def stack(name: str, trailing: tuple[int, ...]) -> Tensor:
        """`trailing` is the padding of the axes behind the segments, last axis first."""
        parts = [getattr(port, name) for port in ports]
        pads = [(*trailing, *_token_pad(name, tokens, part), 0, segments - part.shape[1]) for part in parts]
        return torch.cat([functional.pad(part, pad) for part, pad in zip(parts, pads, strict=True)])

    item, scene = (torch.cat([getattr(port, name) for port in ports]) for name in ("item", "scene"))
    values, mask, seconds = stack("values", (0, 0)), stack("mask", ()), stack("seconds", (0, 0))
    return Features(values, mask, seconds, item, scene)


def _pick_last(values: Tensor, count: Tensor) -> Tensor:
    """values (M, T, …) of segment `count - 1` (M,) of each row; zeros where it has none."""
    if not values.shape[1]:
        return values.new_zeros(len(values), *values.shape[2:])
    last = values[torch.arange(len(values), device=count.device), (count - 1).clamp(min=0)]
    return last.masked_fill((count == 0).view(-1, *[1] * (last.ndim - 1)), 0)


def _token_pad(name: str, tokens: int, part: Tensor) -> tuple[int, ...]:
    return () if name == "seconds" else (0, tokens - part.shape[2])


def _behind_pending(state: MemoryState, keys: Features) -> Features:
    """Concatenate the pending segment and the new ones, without gaps."""
    pending = replace(keys, values=state.keys[:, None], mask=state.mask[:, None], seconds=state.seconds[:, None])
    tokens = max(pending.values.shape[2], keys.values.shape[2])
    padded = []
    for part in (pending, keys):
        missing = tokens - part.values.shape[2]
        values, mask = functional.pad(part.values, (0, 0, 0, missing)), functional.pad(part.mask, (0, missing))
        padded.append(replace(part, values=values.to(keys.values.dtype), mask=mask))
    names = ("values", "mask", "seconds")
    joined = {name: torch.cat([getattr(part, name) for part in padded], 1) for name in names}
    return compact(replace(keys, **joined))
