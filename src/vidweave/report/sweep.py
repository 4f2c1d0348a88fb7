"""A sweep as a page: accuracy over frames or frame rate as curves with intervals, and a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.report.drawing import FAINT, INK, PALETTE, Box, Drawing, Line, Words, fit
from vidweave.report.intervals import WIDTH, Figure, intervals
from vidweave.report.page import Page
from vidweave.report.tables import Column, markdown_table

__all__ = ["SWEEP_COLUMNS", "sweep_curve", "sweep_markdown", "sweep_page", "sweep_values"]

LEFT, RIGHT, TOP, HEIGHT = 70.0, 40.0, 16.0, 300.0
GRID = "#e4e4e4"
Row = Mapping[str, Any]


def _share(value: float) -> str:
    return f"{value:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.1%}"


def _short(value: float) -> str:
    return f"{value:.2g}"


SWEEP_COLUMNS = (
    Column(name="setting", is_text=True),
    Column(name="accuracy", show=_share),
    Column(name="low", show=_share),
    Column(name="high", show=_share),
    Column(name="minus first", show=_signed),
    Column(name="low", show=_signed),
    Column(name="high", show=_signed),
    Column(name="p", show=_short),
    Column(name="p Holm", show=_short),
    Column(name="frames used"),
    Column(name="items"),
    Column(name="seconds", show=lambda value: f"{value:.1f}"),
)


def sweep_values(row: Row) -> list[Any]:
    """Values of one setting, in the order of `SWEEP_COLUMNS`."""
    names = ("label", "accuracy", "low", "high", "difference", "difference_low", "difference_high", "p_value", "p_holm")
    return [*(row[name] for name in names), row["frames_per_question"], row["num_items"], sum(row["seconds"].values())]


def sweep_page(data: Row) -> Page:
    """Build the page of a sweep, given as the JSON data that `vidweave evaluate --json` prints."""
    rows = data["sweep"]
    sections = []
    if _number(rows[0]) is not None:
        sections.append((f"Accuracy of {data['title']}", sweep_curve(rows, data.get("references", {}))))
    figures = [_figure(row) for row in rows]
    sections.append(("Each setting with its 95% interval", intervals(figures)))
    made = [f"{name}: {json.dumps(data['manifest'][name])}" for name in ("task", "model") if name in data["manifest"]]
    made += [f"{row['label']}: {row['predictions']}" for row in rows if row["predictions"]]
    sections.append(("Made with", _lines(made)))
    return Page(f"Sweep of {data['title']}", tuple(sections), json.dumps(data, indent=1, default=str), "all figures")


def sweep_markdown(data: Row) -> str:
    """Format the same values as a Markdown table."""
    return f"# Sweep of {data['title']}\n\n" + markdown_table(SWEEP_COLUMNS, [sweep_values(r) for r in data["sweep"]])


def sweep_curve(rows: Sequence[Row], references: Mapping[str, float] | None = None) -> Drawing:
    """Draw accuracy (vertical) over frames or frames per second (horizontal, evenly spaced values), a line per selector.

    Args:
        rows: Settings in order; each has a number of frames or a rate.
        references: Name of a baseline → accuracy, drawn as a gray line.
    """
    drawing, references = Drawing(WIDTH), references or {}
    numbers = sorted({number for row in rows if (number := _number(row)) is not None})
    low = math.floor(10 * min([*(row["low"] for row in rows), *references.values()])) / 10
    high = min(1.0, math.ceil(10 * max(row["high"] for row in rows) + 1e-9) / 10)
    inner, last = WIDTH - LEFT - RIGHT, max(1, len(numbers) - 1)

    def x(number: float) -> float:
        return LEFT + 40 + (inner - 80) * numbers.index(number) / last

    def y(value: float) -> float:
        return TOP + HEIGHT * (1 - (value - low) / ((high - low) or 1.0))

    _axes(drawing, {f"{number:g}": x(number) for number in numbers}, low, high, y, _unit(rows[0]))
    for name, value in references.items():
        drawing.add(Line(((LEFT, y(value)), (WIDTH - RIGHT, y(value))), FAINT, 1.5))
        drawing.add(Words(WIDTH - RIGHT, y(value) - 4, f"{name} {value:.1%}", 10, FAINT, "end"))
    _curves(drawing, rows, x, y)
    return drawing


def _curves(drawing: Drawing, rows: Sequence[Row], x: Any, y: Any) -> None:
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row["selector"] or "", []).append(row)
    across = LEFT + 40
    for place, (name, members) in enumerate(lines.items()):
        colour, shift = PALETTE[place % len(PALETTE)], 5.0 * (place - (len(lines) - 1) / 2)  # whiskers side by side
        points = [(x(_number(row)) + shift, y(row["accuracy"])) for row in members]
        drawing.add(Line(tuple(points), colour, 2.0))
        for number, (row, (px, py)) in enumerate(zip(members, points, strict=True)):
            drawing.add(Line(((px, y(row["low"])), (px, y(row["high"]))), colour, 1.5))
            drawing.add(Box(px - 3.5, py - 3.5, 7, 7, colour, f"{row['label']}: {row['accuracy']:.1%}"))
            if len(lines) == 1:  # on the side of the line that goes on
                is_rising = number + 1 < len(points) and points[number + 1][1] < py
                drawing.add(Words(px + 8, py + (16 if is_rising else -7), f"{row['accuracy']:.1%}", 11, INK))
        if name:
            drawing.add(Words(across, TOP + HEIGHT + 50, name, 11, colour))
            across += 8 * len(name) + 24


def _axes(drawing: Drawing, marks: Mapping[str, float], low: float, high: float, y: Any, unit: str) -> None:
    steps = max(1, round((high - low) * 10))
    for step in range(steps + 1):
        value = low + (high - low) * step / steps
        drawing.add(Line(((LEFT, y(value)), (WIDTH - RIGHT, y(value))), GRID))
        drawing.add(Words(LEFT - 8, y(value) + 4, f"{value:.0%}", 10, FAINT, "end"))
    for text, place in marks.items():
        drawing.add(Words(place, TOP + HEIGHT + 16, text, 11, INK, "middle"))
    drawing.add(Words(LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + HEIGHT + 34, unit, 11, FAINT, "middle"))


def _number(row: Row) -> float | None:
    return row["frames"] if row["frames"] is not None else row["fps"]


def _unit(row: Row) -> str:
    return "frames per question" if row["frames"] is not None else "frames per second"


def _figure(row: Row) -> Figure:
    note = f"frames used: {row['frames_per_question']}"
    if row["difference"] is not None:
        note = f"{_signed(row['difference'])} to first, p Holm {_short(row['p_holm'])}"
    return Figure(name=row["label"], value=row["accuracy"], low=row["low"], high=row["high"], note=note)


def _lines(lines: Sequence[str]) -> Drawing:
    drawing = Drawing(WIDTH)
    for place, line in enumerate(lines):
        drawing.add(Words(10, 15 * (place + 1), fit(line, WIDTH - 20, 11), 11))
    return drawing
