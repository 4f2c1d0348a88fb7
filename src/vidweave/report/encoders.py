"""The panel of a mixer: how much each encoder counts for the answer, and where its tokens are loud, over the pictures."""

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
    """`value` is the mixer's account: per scene the `weights` by stream, and `maps`: by stream the loudness of its tokens,
    one row per segment, beside the segments' `seconds`."""
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
    """A row of squares per stream, each where its segment stands in time; darker is louder, within the stream."""
    drawing = context.sheet()
    drawing.add(
        Words(
            context.left,
            11,
            "loudness of each token over time: patches in their places, learned tokens in their order",
            11,
            FAINT,
        )
    )
    size = min(LARGEST, context.inner / max(1, len(scene["seconds"])) - 3)
    y = 18.0
    for name, segments in scene["maps"].items():
        context.label(drawing, y + size / 2 + 4, fit(name, context.left - 16, 11))
        loud = [token for segment in segments for token in segment]
        low, high = min(loud, default=0.0), max(loud, default=1.0)
        for number, segment in enumerate(segments):
            x = context.left + number * context.inner / max(1, len(segments))
            _square(drawing, x, y, size, [(token - low) / (high - low or 1.0) for token in segment], name)
        y += size + 6
    time_axis(context, drawing, y)
    return drawing


def _square(drawing: Drawing, x: float, y: float, size: float, tokens: Sequence[float], name: str) -> None:
    """Tokens as a grid where their number is a square, else as columns."""
    side = math.isqrt(len(tokens))
    columns = side if side * side == len(tokens) else len(tokens)
    width, height = size / max(1, columns), size / max(1, -(-len(tokens) // max(1, columns)))
    for place, value in enumerate(tokens):
        row, column = divmod(place, columns)
        drawing.add(Box(x + column * width, y + row * height, width, height, shade(value), f"{name}: {value:.2f}"))
