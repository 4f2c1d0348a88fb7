"""How decoded frames are turned and mirrored before they are shown, from the display matrix of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Orientation", "orientation_of"]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """First mirror left and right if `is_mirrored`, then turn by `quarters` of a turn counter-clockwise."""

    is_mirrored: bool = False
    quarters: int = 0

    @property
    def swaps_sides(self) -> bool:
        """Whether width becomes height."""
        return self.quarters % 2 == 1

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, ...) as decoded → as shown; a view."""
        return np.rot90(picture[:, ::-1] if self.is_mirrored else picture, self.quarters)


def orientation_of(frame: Any) -> Orientation:
    """Orientation of a decoded frame. Angles between quarters of a turn are rounded."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Orientation()
    # x' = a x + c y, y' = b x + d y: a point of the decoded frame, and where it is shown (y points down)
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].astype(float)
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    return Orientation(is_mirrored=is_mirrored, quarters=round(math.atan2(-b, a) / (math.pi / 2)) % 4)
