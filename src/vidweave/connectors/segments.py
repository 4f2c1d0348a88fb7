"""Segments of carriers (`Features`, `Blocks`): placing rows, closing gaps, appending. Pure functions.

Canonical form: one row per (item, scene) pair, in the order of the pairs; the real segments of a row stand first, in
order of time. A segment is real when one of its tokens is.
"""

# Axes: R rows, P (item, scene) pairs, T segments, N tokens, C width

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.errors import ShapeError
from vidweave.types import Blocks, Features

__all__ = ["append", "compact", "counts_of", "first_times", "merge_seconds", "place", "real_segments", "whole_span"]

Carrier = TypeVar("Carrier", Features, Blocks)


def real_segments(carrier: Features | Blocks) -> Tensor:
    """(R, T) True where a segment has a real token."""
    return carrier.mask.any(-1)


def counts_of(blocks: Mapping[str, Blocks]) -> dict[tuple[str, int, int], int]:
    """(block, item, scene) → number of real segments, from which prompts are planned."""
    return {
        (name, item, scene): count
        for name, block in blocks.items()
        for item, scene, count in zip(
            block.item.tolist(), block.scene.tolist(), real_segments(block).sum(1).tolist(), strict=True
        )
    }


def place(carrier: Carrier, item: Tensor, scene: Tensor, what: str) -> Carrier:
    """Arrange rows by pairs (`item` (P,), `scene` (P,)), in their order; pairs without a row are filled with masked zeros.

    Raises:
        ShapeError: a row that belongs to no pair, or two rows of one pair; `what` names the stream.
    """
    requested = {pair: index for index, pair in enumerate(zip(item.tolist(), scene.tolist(), strict=True))}
    got = list(zip(carrier.item.tolist(), carrier.scene.tolist(), strict=True))
    for index, pair in enumerate(got):
        if pair not in requested:
            raise ShapeError(
                f"stream {what!r} has a row for item {pair[0]}, scene {pair[1]}, which is not among the pairs of begin()"
            )
        if pair in got[:index]:
            raise ShapeError(f"stream {what!r} has two rows for item {pair[0]}, scene {pair[1]}")
    if got == list(requested):
        return carrier
    rows = torch.tensor([requested[pair] for pair in got], dtype=torch.long, device=carrier.item.device)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(len(requested), *values.shape[1:]).index_copy(0, rows, values)

    values, mask, seconds = spread(carrier.values), spread(carrier.mask), spread(carrier.seconds)
    return replace(carrier, values=values, mask=mask, seconds=seconds, item=item, scene=scene)


def compact(carrier: Carrier) -> Carrier:
    """Close gaps: real segments first, in order of time; segments that are real in no row are cut off."""
    real = real_segments(carrier)
    longest = int(real.sum(1).max()) if real.numel() else 0
    if bool((real[:, 1:] & ~real[:, :-1]).any()):
        order = torch.argsort((~real).to(torch.int8), dim=1, stable=True)[:, :longest]
        return _map_segments(carrier, lambda x: _take(x, order))
    if longest == real.shape[1]:
        return carrier
    return _map_segments(carrier, lambda x: x[:, :longest])


def append(before: Carrier | None, after: Carrier) -> Carrier:
    """Append `after` to `before` in time, per row, without gaps; both have the same rows in canonical form.

    Raises:
        ShapeError: the number of tokens per segment, or their width, has changed.
    """
    after = compact(after)
    if before is None:
        return after
    if before.values.shape[2:] != after.values.shape[2:]:
        old, new = tuple(before.values.shape[2:]), tuple(after.values.shape[2:])
        raise ShapeError(
            f"segments were {old} (tokens, width) so far, now they are {new}; a stream must keep its shape"
        )
    joined = {
        name: torch.cat([getattr(before, name), getattr(after, name)], 1) for name in ("values", "mask", "seconds")
    }
    return compact(replace(after, **joined))


def whole_span(seconds: Tensor, real: Tensor) -> Tensor:
    """seconds (R, T, 2), real (R, T) → (R, 2): first start and last end of the real segments; zeros without any."""
    if not seconds.shape[1]:
        return seconds.new_zeros(len(seconds), 2)
    start = seconds[..., 0].masked_fill(~real, torch.inf).amin(1)
    end = seconds[..., 1].masked_fill(~real, -torch.inf).amax(1)
    return torch.stack([start, end], -1).masked_fill(~real.any(1, keepdim=True), 0.0)


def merge_seconds(seconds: Tensor, time: int) -> Tensor:
    """(R, T, 2) → (R, T // time, 2): from the start of the first to the end of the last of `time` neighbors."""
    if time == 1:
        return seconds
    whole = seconds[:, : seconds.shape[1] // time * time].unflatten(1, (-1, time))
    return torch.stack([whole[:, :, 0, 0], whole[:, :, -1, 1]], -1)


def first_times(
    carriers: Sequence[Features | Blocks], num_segments: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return, per row, the times of the first of `carriers` (same rows, canonical form) that has segments.

    Returns:
        seconds (R, S, 2), real (R, S) and found (R,), True if a carrier has segments; S is `num_segments`, by default
        the longest.
    """
    longest = max(carrier.mask.shape[1] for carrier in carriers) if num_segments is None else num_segments
    like = carriers[0]
    seconds = like.seconds.new_zeros(len(like.item), longest, 2)
    real = torch.zeros(seconds.shape[:2], dtype=torch.bool, device=seconds.device)
    for carrier in reversed(carriers):
        missing = longest - carrier.mask.shape[1]
        has_some = real_segments(carrier).any(1)
        seconds = torch.where(has_some[:, None, None], functional.pad(carrier.seconds, (0, 0, 0, missing)), seconds)
        real = torch.where(has_some[:, None], functional.pad(real_segments(carrier), (0, missing)), real)
    return seconds, real, real.any(1)


def _take(values: Tensor, order: Tensor) -> Tensor:
    index = order.view(*order.shape, *([1] * (values.ndim - 2))).expand(-1, -1, *values.shape[2:])
    return values.gather(1, index)


def _map_segments(carrier: Carrier, change: Callable[[Tensor], Tensor]) -> Carrier:
    return replace(carrier, **{name: change(getattr(carrier, name)) for name in ("values", "mask", "seconds")})
