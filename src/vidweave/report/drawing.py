"""Drawings independent of the renderer (`svg`, `raster`): boxes, lines, text and images on a sheet."""

# Axes: H height, W width

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

__all__ = ["FAINT", "INK", "LETTER", "PALETTE", "Box", "Drawing", "Line", "Bitmap", "Words", "fit", "shade", "wrap"]

INK, FAINT = "#222222", "#8a8a8a"
PALETTE = ("#3b6fb6", "#d1782c", "#4c9a52", "#a8485c", "#7a62b3", "#8a7340", "#3f9aa3", "#b65fa0")
Anchor = Literal["start", "middle", "end"]
LETTER = 0.54  # mean width of a letter in units of its size


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str = ""  # tooltip, where the output supports one


@dataclass(frozen=True)
class Line:
    points: tuple[tuple[float, float], ...]
    colour: str = FAINT
    width: float = 1.0


@dataclass(frozen=True)
class Words:
    """`y` is the baseline."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = INK
    anchor: Anchor = "start"
    bold: bool = False


@dataclass(frozen=True)
class Bitmap:
    """`pixels` (H, W, 3) uint8."""

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray = field(repr=False)


@dataclass
class Drawing:
    """Shapes on a sheet of `width` x `height` pixels, y down; later shapes cover earlier ones."""

    width: float
    height: float = 0.0
    shapes: list[Box | Line | Words | Bitmap] = field(default_factory=list)

    def add(self, *shapes: Box | Line | Words | Bitmap) -> None:
        """Add shapes on top; the sheet grows downwards as needed."""
        for shape in shapes:
            self.shapes.append(shape)
            self.height = max(self.height, _bottom(shape))

    def place(self, other: Drawing, y: float) -> None:
        """Add another drawing, moved down by `y`."""
        for shape in other.shapes:
            points = tuple((px, py + y) for px, py in shape.points) if isinstance(shape, Line) else None
            self.add(replace(shape, points=points) if points is not None else replace(shape, y=shape.y + y))  # type: ignore[union-attr]
        self.height = max(self.height, y + other.height)


def _bottom(shape: Box | Line | Words | Bitmap) -> float:
    if isinstance(shape, Line):
        return max(y for _, y in shape.points)
    return shape.y + (shape.size * 0.3 if isinstance(shape, Words) else shape.height)


def fit(text: str, width: float, size: float = 12.0) -> str:
    """Cut `text` to about `width` pixels."""
    letters = max(1, int(width / (LETTER * size)))
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"


def wrap(text: str, width: float, size: float = 12.0) -> list[str]:
    """Wrap text into lines of about `width` pixels; a longer word is split."""
    letters = max(1, int(width / (LETTER * size)))
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in _pieces(paragraph.split(), letters):
            if line and len(line) + 1 + len(word) > letters:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def _pieces(words: Iterable[str], letters: int) -> Iterable[str]:
    for word in words:
        for start in range(0, len(word), letters):
            yield word[start : start + letters]


def shade(value: float, colours: Sequence[str] = ("#f1f4f9", "#173f7a")) -> str:
    """Map `value` (0 to 1, clamped; NaN is gray) to a color between two colors."""
    if value != value:
        return "#cccccc"
    value = min(1.0, max(0.0, value))
    low, high = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in colours)
    return "#" + "".join(f"{round(c):02x}" for c in low + (high - low) * value)
