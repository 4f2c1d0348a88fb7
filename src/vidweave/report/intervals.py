"""Charts of values with confidence intervals: one row per value, with marks for other values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidweave.report.drawing import FAINT, INK, LETTER, PALETTE, Box, Drawing, Line, Words, fit

__all__ = ["Figure", "intervals", "name_width"]

WIDTH, NOTES, ROW, TOP = 960.0, 270.0, 20.0, 22.0
LEAST_LEFT, MOST_LEFT = 160.0, 340.0  # width of the names; charts of one page share it, so that they align
SIZE = 11.0  # of letters
GRID, SPAN = "#e4e4e4", "#9db7da"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row.

    Attributes:
        name: Label before the bar; `note` is the text after it.
        value: Drawn as a bar from zero; None leaves the row empty.
        low, high: Drawn as a whisker; None if the value has no interval.
        marks: Name of another figure → its value, drawn as a tick in the color of the name in the legend.
        colour: Color of the bar.
    """

    name: str
    value: float | None
    note: str = ""
    low: float | None = None
    high: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    colour: str = SPAN


def name_width(figures: Iterable[Figure]) -> float:
    """Width of a column that fits the figures' names."""
    longest = max((len(figure.name) for figure in figures), default=0)
    return min(MOST_LEFT, max(LEAST_LEFT, longest * LETTER * SIZE + 24))


def intervals(
    figures: Sequence[Figure],
    *,
    low: float = 0.0,
    high: float = 1.0,
    left: float | None = None,
    marked: Sequence[str] = (),
) -> Drawing:
    """Draw rows of figures on one axis from `low` to `high`, clamped.

    Args:
        left: Width of the names, so that several charts share one axis; defaults to this chart's `name_width`.
        marked: Names of marks in a fixed order, so that each has the same color in every chart.
    """
    drawing, height = Drawing(WIDTH), TOP + ROW * len(figures)
    left = name_width(figures) if left is None else left
    width = WIDTH - left - NOTES

    def x(value: float) -> float:
        return left + width * min(1.0, max(0.0, (value - low) / (high - low)))

    for step in range(5):
        value = low + (high - low) * step / 4
        drawing.add(Line(((x(value), TOP - 4), (x(value), height)), FAINT if value == 0 else GRID))
        drawing.add(Words(x(value), 12, f"{value:.0%}", 10, FAINT, "middle"))
    colours = _colours(figures, marked)
    for number, figure in enumerate(figures):
        y = TOP + ROW * number
        drawing.add(Words(left - 10, y + 14, fit(figure.name, left - 16, SIZE), SIZE, anchor="end"))
        if figure.value is not None:
            drawing.add(Words(WIDTH - NOTES + 6, y + 14, _number(figure.value, low), 11))
            start, end = sorted((x(max(low, 0.0)), x(figure.value)))
            drawing.add(Box(start, y + 4, max(1.0, end - start), ROW - 8, figure.colour, f"{figure.value:.3f}"))
        drawing.add(Words(WIDTH - NOTES + 54, y + 14, fit(figure.note, NOTES - 54, 11), 11, FAINT))
        if figure.low is not None and figure.high is not None:
            drawing.add(Line(((x(figure.low), y + 10), (x(figure.high), y + 10)), INK, 1.5))
        for name, value in figure.marks.items():
            drawing.add(Line(((x(value), y + 2), (x(value), y + ROW - 2)), colours[name], 2.5))
    present = {name for figure in figures for name in figure.marks}
    _legend(drawing, {name: colour for name, colour in colours.items() if name in present}, height, left)
    return drawing


def _number(value: float, low: float) -> str:
    return f"{value:+.1%}" if low < 0 else f"{value:.1%}"


def _colours(figures: Sequence[Figure], marked: Sequence[str]) -> dict[str, str]:
    names = dict.fromkeys([*marked, *(name for figure in figures for name in figure.marks)])
    return {name: PALETTE[(number + 1) % len(PALETTE)] for number, name in enumerate(names)}


def _legend(drawing: Drawing, colours: Mapping[str, str], height: float, left: float) -> None:
    across, y = left, height + 18
    for name, colour in colours.items():
        width = 6.2 * len(name) + 34
        if across + width > WIDTH and across > left:
            across, y = left, y + 16
        drawing.add(Line(((across, y - 9), (across, y + 1)), colour, 2.5), Words(across + 8, y, name, 11, colour))
        across += width
