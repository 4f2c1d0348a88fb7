"""Building blocks of panels: bars, rows of shaded cells, curves over time, text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, PALETTE, Box, Drawing, Line, Words, fit, shade, wrap

__all__ = ["bars", "cells", "curves", "paragraph"]

ROW = 20.0


def bars(
    context: PanelContext,
    rows: Sequence[tuple[str, float, str]],
    *,
    most: float | None = None,
    colour: str = PALETTE[0],
) -> Drawing:
    """Draw one bar per (name, value >= 0, note after the bar); `most` is the value of a full bar."""
    drawing, width = context.sheet(), context.inner - 110
    values = [value for _, value, _ in rows if math.isfinite(value)]
    full = most or max(values, default=0.0) or 1.0
    for index, (name, value, note) in enumerate(rows):
        y = index * ROW
        length = width * min(1.0, max(0.0, value / full)) if math.isfinite(value) else 0.0
        context.label(drawing, y + 14, fit(name, context.left - 16, 11))
        drawing.add(Box(context.left, y + 3, max(1.0, length), ROW - 6, colour))
        drawing.add(Words(context.left + length + 6, y + 14, note, 11, FAINT))
    return drawing


def cells(
    context: PanelContext,
    rows: Mapping[str, Sequence[float]],
    *,
    low: float | None = None,
    high: float | None = None,
    columns: Sequence[str] = (),
) -> Drawing:
    """Draw a table of shaded cells, one row per name; darker is more. `columns` are headings, drawn if they fit."""
    drawing = context.sheet()
    numbers = [v for row in rows.values() for v in row if math.isfinite(v)]
    low, high = min(numbers, default=0.0) if low is None else low, max(numbers, default=1.0) if high is None else high
    width = context.inner / max(1, *(len(row) for row in rows.values()))
    top = 16.0 if columns else 0.0
    for index, name in enumerate(columns):
        drawing.add(Words(context.left + (index + 0.5) * width, 11, fit(name, width, 10), 10, FAINT, "middle"))
    for number, (name, row) in enumerate(rows.items()):
        y = top + number * ROW
        context.label(drawing, y + 14, fit(name, context.left - 16, 11))
        for index, value in enumerate(row):
            share = (value - low) / (high - low) if high > low else 0.5
            drawing.add(Box(context.left + index * width, y + 1, width, ROW - 2, shade(share), f"{name}: {value:.4g}"))
    return drawing


def curves(
    context: PanelContext,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    low: float | None = None,
    high: float | None = None,
    height: float = 90.0,
) -> Drawing:
    """Draw lines of (seconds, value) over the page's time axis, with a legend."""
    drawing = context.sheet()
    values = [v for line in lines.values() for _, v in line if math.isfinite(v)]
    low, high = min(values, default=0.0) if low is None else low, max(values, default=1.0) if high is None else high
    for value, y in ((high, 12.0), (low, height)):
        context.label(drawing, y + 4, f"{value:.3g}")
        drawing.add(Line(((context.left, y), (context.left + context.inner, y)), "#e4e4e4"))
    legend = context.left
    for index, (name, line) in enumerate(lines.items()):
        colour = PALETTE[index % len(PALETTE)]
        points = tuple((context.x(t), _height(v, low, high, height)) for t, v in line if math.isfinite(v))
        drawing.add(*([Line(points, colour, 1.5)] if len(points) > 1 else []))
        drawing.add(*(Box(x - 1.5, y - 1.5, 3, 3, colour) for x, y in points))
        drawing.add(Words(legend, height + 38, name, 11, colour))
        legend += 8 * len(name) + 24
    time_axis(context, drawing, height + 2)
    return drawing


def paragraph(context: PanelContext, text: str, *, most_lines: int = 12, size: float = 12.0) -> Drawing:
    """Draw text over the whole width; long text is cut with a note."""
    drawing, lines = context.sheet(), wrap(text, context.width - 20, size)
    if len(lines) > most_lines:
        lines = [*lines[:most_lines], f"… {len(lines) - most_lines} more lines"]
    for index, line in enumerate(lines):
        drawing.add(Words(10, (index + 1) * size * 1.35, line, size))
    return drawing


def _height(value: float, low: float, high: float, height: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return height - (height - 12) * min(1.0, max(0.0, share))
