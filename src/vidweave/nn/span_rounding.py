"""Named rules by which the released VideoTGB code converts spans of flow steps to frames: for parity only.

Its code paths differ in the scale and in whether the end frame is included (spec 2.6); new work uses `span_selection`,
which works in seconds.
"""

# Axes: m spans, k frames

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["ROUNDINGS", "Rounding", "RoundingName", "round_spans", "segment_places"]

RoundingName = Literal["ends", "ends_inclusive", "share"]


@dataclass(frozen=True)
class Rounding:
    """`ends` maps first to first and last to last, x * (T - 1) / (V - 1); `share` is x / V * T. Both truncate."""

    scale: Literal["ends", "share"]
    include_end: bool = False

    def frame(self, step: int, num_steps: int, num_frames: int) -> int:
        """Return the frame of a step, in single precision as in the original."""
        x = np.float32(step)
        if self.scale == "share":
            return int(x / np.float32(num_steps) * np.float32(num_frames))
        # A single step divides by zero in the original; it can only map to the first frame.
        return int(x * np.float32(num_frames - 1) / np.float32(max(num_steps - 1, 1)))


ROUNDINGS: dict[RoundingName, Rounding] = {
    "ends": Rounding("ends"),
    "ends_inclusive": Rounding("ends", include_end=True),
    "share": Rounding("share"),
}


def round_spans(
    spans: Sequence[tuple[int, int]], *, num_steps: int, num_frames: int, k: int, rounding: RoundingName
) -> list[int]:
    """Return k frames of 0..num_frames-1 for spans of steps (first, last).

    A span that leaves the clip, or is (0, 0), is the whole clip; a span that ends before it starts is empty; if all spans
    are empty, every frame is used. Frames are repeated in place until there are k, then thinned by `segment_places`.
    """
    rule = ROUNDINGS[rounding]
    frames: set[int] = set()
    for start, end in spans:
        if start >= num_steps or end >= num_steps or (start == 0 and end == 0):
            start, end = 0, num_steps - 1
        first, last = (rule.frame(step, num_steps, num_frames) for step in (start, end))
        frames |= set(range(first, last + rule.include_end))
    chosen = sorted(frames) or list(range(num_frames))
    while len(chosen) < k:
        chosen = [frame for frame in chosen for _ in range(2)]
    return [chosen[place] for place in segment_places(len(chosen), k)]


def segment_places(count: int, k: int, rule: Literal["middle", "second"] = "middle") -> list[int]:
    """Return indices of k out of `count` items, one from each of k segments with truncated borders; all if count <= k.

    `second` is the item after the segment's first, which the original's evaluation uses due to a mistaken argument.
    """
    if count <= k:
        return list(range(count))
    borders = np.floor(np.linspace(0, count, k + 1)).astype(np.int64)
    return (borders[:-1] + 1 if rule == "second" else (borders[:-1] + borders[1:] - 1) // 2).tolist()
