"""The panel of a mixer: the weight of each encoder, and the norms of its tokens as maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.report.charts import bars
from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, Box, Drawing, Words, fit, shade

__all__ = ["encoders_panel"]

LARGEST = 56.0


def encoders_panel(value: Sequence[Mapping[str, Any]], context: PanelContext) -> Drawing | None:
    """Draw the mixer's panel: per scene the `weights` by stream, and `maps`: by stream the norms of its tokens,
    one row per time step, beside the `seconds` of the time steps."""
    if not value:
        return None
    drawing, y = context.sheet(), 0.0
    for scene in value:
        rows = [(name, weight, f"{weight:.1%}") for name, weight in scene["weights"].items()]
        drawing.place(bars(context, rows, most=1.0), y)
        y = drawing.height + 8
        drawing.place(_maps(context, scene), y)
        y = drawing.height + 14
    return drawing


def _maps(context: PanelContext, scene: Mapping[str, Any]) -> Drawing:
    """Draw a row of squares per stream, each at its time step; darker is a larger norm, within the stream."""
    drawing = context.sheet()
    drawing.add(
        Words(
            context.left,
            11,
            "norm of each token over time: patches at their positions, query tokens in order",
            11,
            FAINT,
        )
    )
    size = min(LARGEST, context.inner / max(1, len(scene["seconds"])) - 3)
    y = 18.0
    for name, steps in scene["maps"].items():
        context.label(drawing, y + size / 2 + 4, fit(name, context.left - 16, 11))
        norms = [token for step in steps for token in step]
        low, high = min(norms, default=0.0), max(norms, default=1.0)
        for number, step in enumerate(steps):
            x = context.left + number * context.inner / max(1, len(steps))
            _square(drawing, x, y, size, [(token - low) / (high - low or 1.0) for token in step], name)
        y += size + 6
    time_axis(context, drawing, y)
    return drawing


def _square(drawing: Drawing, x: float, y: float, size: float, tokens: Sequence[float], name: str) -> None:
    """Draw tokens as a grid if their number is a square, else as columns."""
    side = math.isqrt(len(tokens))
    columns = side if side * side == len(tokens) else len(tokens)
    width, height = size / max(1, columns), size / max(1, -(-len(tokens) // max(1, columns)))
    for position, value in enumerate(tokens):
        row, column = divmod(position, columns)
        drawing.add(Box(x + column * width, y + row * height, width, height, shade(value), f"{name}: {value:.2f}"))
