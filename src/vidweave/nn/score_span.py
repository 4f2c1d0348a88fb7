"""Find the span of a clip with high frame scores: the largest rectangle under their curve."""

# Axes: T frames, L motion steps

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["largest_rectangle", "frame_to_step"]


def largest_rectangle(scores: Sequence[float]) -> tuple[int, int]:
    """Return the first and last frame (inclusive) of the span with the largest product of length and minimum score.

    Ties go to the first span; if no score is above 0, the span is the whole clip.

    Args:
        scores: (T,), at least one, none negative.
    """
    best, span = 0.0, (0, len(scores) - 1)
    open_: list[int] = []  # start frames of rectangles that still grow, with increasing scores
    for place, height in enumerate([*scores, -1.0]):
        while open_ and scores[open_[-1]] > height:
            top = scores[open_.pop()]
            first = open_[-1] + 1 if open_ else 0
            if top * (place - first) > best:
                best, span = top * (place - first), (first, place - 1)
        open_.append(place)
    return span


def frame_to_step(frame: int, num_frames: int, num_steps: int) -> int:
    """Map a frame index to a motion step, first to first and last to last, truncated (rule of the original code)."""
    return int(frame / max(num_frames - 1, 1) * (num_steps - 1))
