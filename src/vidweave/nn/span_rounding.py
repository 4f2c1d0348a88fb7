"""How the released VideoTGB code turns spans of flow steps into frames, by name: for parity, not for new work.

Its code paths differ in the scale and in whether the end frame belongs to the span (spec 2.6); new work uses
`span_selection`, which works in seconds.
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
    """`ends` lays first on first and last on last, x * (T - 1) / (V - 1); `share` is x / V * T. Both cut off."""

    scale: Literal["ends", "share"]
    include_end: bool = False

    def frame(self, step: int, num_steps: int, num_frames: int) -> int:
        """Frame of a step; in single precision, as the original computes."""
        x = np.float32(step)
        if self.scale == "share":
            return int(x / np.float32(num_steps) * np.float32(num_frames))
        # One step divides by zero in the original; it can only stand for the first frame.
        return int(x * np.float32(num_frames - 1) / np.float32(max(num_steps - 1, 1)))


ROUNDINGS: dict[RoundingName, Rounding] = {
    "ends": Rounding("ends"),
    "ends_inclusive": Rounding("ends", include_end=True),
    "share": Rounding("share"),
}


def round_spans(
    spans: Sequence[tuple[int, int]], *, num_steps: int, num_frames: int, k: int, rounding: RoundingName
) -> list[int]:
    """k frames of 0..num_frames-1 from spans of steps (first, last).

    A span that leaves the clip, or is (0, 0), is the whole clip; spans that end before they start hold nothing; nothing
    at all is every frame; frames are doubled in place until there are k, then thinned by `segment_places`.
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
    """Places of k of `count` things: one of each of k segments whose borders are cut off; all of them if k is not less.

    `second` is the one behind the segment's first, which the original's evaluation takes by a slip in an argument.
    """
    if count <= k:
        return list(range(count))
    borders = np.floor(np.linspace(0, count, k + 1)).astype(np.int64)
    return (borders[:-1] + 1 if rule == "second" else (borders[:-1] + borders[1:] - 1) // 2).tolist()
