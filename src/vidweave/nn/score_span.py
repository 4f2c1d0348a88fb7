"""The span of a clip that scores of single pictures speak for: the largest rectangle under their curve."""

# Axes: T pictures, L motion steps

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["largest_rectangle", "picture_to_step"]


def largest_rectangle(scores: Sequence[float]) -> tuple[int, int]:
    """First and last picture, both included, of the span whose length times its smallest score is largest.

    The first of equals wins; where nothing scores above 0 it is the whole clip.

    Args:
        scores: (T,), at least one, none negative.
    """
    best, span = 0.0, (0, len(scores) - 1)
    open_: list[int] = []  # pictures whose rectangles still grow, ever higher
    for place, height in enumerate([*scores, -1.0]):
        while open_ and scores[open_[-1]] > height:
            top = scores[open_.pop()]
            first = open_[-1] + 1 if open_ else 0
            if top * (place - first) > best:
                best, span = top * (place - first), (first, place - 1)
        open_.append(place)
    return span


def picture_to_step(picture: int, num_pictures: int, num_steps: int) -> int:
    """The motion step of a picture by index alone, first on first and last on last, cut off (the original's rule)."""
    return int(picture / max(num_pictures - 1, 1) * (num_steps - 1))
