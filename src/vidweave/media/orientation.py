"""Rotation and mirroring of decoded frames before display, from the display matrix of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Orientation", "orientation_of"]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Mirror left to right if `is_mirrored`, then rotate counter-clockwise by `quarters` of a turn."""

    is_mirrored: bool = False
    quarters: int = 0

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height are swapped."""
        return self.quarters % 2 == 1

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, ...) as decoded → as displayed; a view."""
        return np.rot90(frame[:, ::-1] if self.is_mirrored else frame, self.quarters)


def orientation_of(frame: Any) -> Orientation:
    """Return the orientation of a decoded frame. Angles are rounded to quarters of a turn."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Orientation()
    # x' = a x + c y, y' = b x + d y: a point of the decoded frame, and where it is displayed (y points down)
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].astype(float)
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    return Orientation(is_mirrored=is_mirrored, quarters=round(math.atan2(-b, a) / (math.pi / 2)) % 4)
