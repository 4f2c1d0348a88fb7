"""Alignment in time: the segments of one block at the times of another."""

# Axes: R rows, T segments of the block, S segments of the reference, Q tokens, D width

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from vidweave.connectors.segments import real_segments
from vidweave.errors import ShapeError
from vidweave.types import Blocks

__all__ = ["AlignRule", "align"]

AlignRule = Literal["exact", "in_order", "nearest", "mean_repeat"]

# Containers usually round timestamps to a millisecond; two streams of one file agree to within that.
_SAME_SECONDS = 2e-3


def align(blocks: Blocks, seconds: Tensor, real: Tensor, rule: AlignRule, name: str = "") -> Blocks:
    """Give `blocks` the segments of a reference, row by row.

    Args:
        blocks: Rows in the reference's order; real segments anywhere in a row.
        seconds: (R, S, 2) of the reference.
        real: (R, S), True where the reference has a segment; other segments come out masked.
        rule: `exact`: the same number of segments with the same midpoints (to 2 ms), in order. `in_order`: the same number
            of segments, matched by position, whatever their times; a single segment is repeated. `nearest`: the segment
            whose midpoint is nearest, the earlier one of two. `mean_repeat`: the mean over the row's segments, at every time.
        name: Of the block, for errors.

    Returns:
        Blocks with values (R, S, Q, D) and the reference's seconds. A row without segments stays masked throughout.

    Raises:
        ShapeError: `exact` and the times differ, or `in_order` and the numbers do; the message gives the difference.
    """
    if not blocks.values.shape[1]:  # nothing was pushed: use one masked segment
        blocks = _with_masked_segment(blocks)
    if rule == "mean_repeat":
        values, mask = _mean(blocks, seconds.shape[1])
    else:
        index = _in_order(blocks, real, name) if rule == "in_order" else _nearest(blocks, seconds, real)
        if rule == "exact":
            _expect_same(blocks, seconds, real, name)
        values = blocks.values.gather(1, index[..., None, None].expand(-1, -1, *blocks.values.shape[2:]))
        mask = blocks.mask.gather(1, index[..., None].expand(-1, -1, blocks.mask.shape[2]))
    return replace(blocks, values=values, mask=mask & real[..., None], seconds=seconds)


def _with_masked_segment(blocks: Blocks) -> Blocks:
    rows, _, tokens, width = blocks.values.shape
    return replace(
        blocks,
        values=blocks.values.new_zeros(rows, 1, tokens, width),
        mask=blocks.mask.new_zeros(rows, 1, tokens),
        seconds=blocks.seconds.new_zeros(rows, 1, 2),
    )


def _mean(blocks: Blocks, num_segments: int) -> tuple[Tensor, Tensor]:
    """Per token, the mean over the segments where it is real, repeated."""
    weight = blocks.mask[..., None].to(blocks.values.dtype)
    mean = (blocks.values * weight).sum(1) / weight.sum(1).clamp(min=1)
    mask = blocks.mask.any(1)
    return mean[:, None].expand(-1, num_segments, -1, -1), mask[:, None].expand(-1, num_segments, -1)


def _nearest(blocks: Blocks, seconds: Tensor, real: Tensor) -> Tensor:
    """(R, S) for each reference segment the index of the nearest real segment of the block."""
    distance = (seconds.mean(-1)[:, :, None] - blocks.seconds.mean(-1)[:, None, :]).abs()
    return distance.masked_fill(~real_segments(blocks)[:, None], torch.inf).argmin(-1)


def _in_order(blocks: Blocks, real: Tensor, name: str) -> Tensor:
    """(R, S) the n-th real segment of the block for the n-th real segment of the reference."""
    have, want = real_segments(blocks), real.sum(1)
    counts = have.sum(1)
    wrong = ((counts != want) & (counts > 1)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ShapeError(_unequal(row, name, int(counts[row]), int(want[row])))
    places = torch.argsort((~have).to(torch.int8), dim=1, stable=True)  # real ones first, in order
    turn = (real.long().cumsum(1) - 1).clamp(min=0)
    return places.gather(1, torch.minimum(turn, (counts - 1).clamp(min=0)[:, None]))


def _unequal(row: int, name: str, have: int, want: int) -> str:
    return (
        f"row {row}: block {name!r} has {have} segments, the reference {want}; give the streams equal numbers "
        f"(num_frames, pool.time, pool.steps), or align='nearest' or 'mean_repeat'"
    )


def _expect_same(blocks: Blocks, seconds: Tensor, real: Tensor, name: str) -> None:
    for row, (got_real, want_real) in enumerate(zip(real_segments(blocks), real, strict=True)):
        got, want = blocks.seconds[row][got_real].mean(-1), seconds[row][want_real].mean(-1)
        if len(got) != len(want):
            raise ShapeError(_unequal(row, name, len(got), len(want)))
        if len(got) and float((got - want).abs().max()) > _SAME_SECONDS:
            first = int(((got - want).abs() > _SAME_SECONDS).nonzero()[0])
            raise ShapeError(
                f"row {row}, segment {first}: block {name!r} is at {float(got[first]):.3f} s, the reference at "
                f"{float(want[first]):.3f} s; give the streams the same times, or align='nearest' or 'mean_repeat'"
            )
