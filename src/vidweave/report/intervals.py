"""Figures with their intervals as a chart: one row per figure, and marks where other figures stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidweave.report.drawing import FAINT, INK, LETTER, PALETTE, Box, Drawing, Line, Words, fit

__all__ = ["Figure", "intervals", "name_room"]

WIDTH, NOTES, ROW, TOP = 960.0, 270.0, 20.0, 22.0
LEAST_LEFT, MOST_LEFT = 160.0, 340.0  # room for names; charts of one page that share it stand below one another
SIZE = 11.0  # of letters
GRID, SPAN = "#e4e4e4", "#9db7da"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row.

    Attributes:
        name: Stands before it; `note` behind it.
        value: Drawn as a bar from zero; None leaves the row empty.
        low, high: Drawn as a whisker; None where the figure has no interval.
        marks: Name of another figure → its value, drawn as a tick in the colour that the legend gives to the name.
        colour: Of the bar.
    """

    name: str
    value: float | None
    note: str = ""
    low: float | None = None
    high: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    colour: str = SPAN


def name_room(figures: Iterable[Figure]) -> float:
    """How wide a column must be that holds the figures' names."""
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
    """Rows of figures on one axis from `low` to `high`, cut there.

    Args:
        left: Room for names, so that several charts have one axis; this chart's own `name_room` if left out.
        marked: Names of marks of which some may be here: what stands in this order has the same colours in each chart.
    """
    drawing, height = Drawing(WIDTH), TOP + ROW * len(figures)
    left = name_room(figures) if left is None else left
    room = WIDTH - left - NOTES

    def x(value: float) -> float:
        return left + room * min(1.0, max(0.0, (value - low) / (high - low)))

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
    here = {name for figure in figures for name in figure.marks}
    _legend(drawing, {name: colour for name, colour in colours.items() if name in here}, height, left)
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
