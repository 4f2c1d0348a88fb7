"""The panel `selection`: motion over time, the predicted span, and the selected frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidweave.report.charts import curves
from vidweave.report.context import PanelContext
from vidweave.report.drawing import FAINT, PALETTE, Box, Drawing, Line, Words, fit

__all__ = ["selection_panel"]

_BAND = 14.0  # height of a row of spans or of frames, in pixels


def selection_panel(value: Any, context: PanelContext) -> Drawing | None:
    """Draw per scene the motion energy (share of its maximum), the probability that a span covers a step, or the similarity to
    the question, as curves over the page's time axis; below them the spans with their scores, and a mark per selected frame."""
    scenes = value.get("scenes", {}) if isinstance(value, Mapping) else {}
    if not scenes:
        return None
    drawing = context.sheet()
    for label, info in scenes.items():
        y = drawing.height + (10 if drawing.height else 0)
        if len(scenes) > 1:
            drawing.add(Words(context.left, y + 12, f"scene {label}", 12))
            y += 18
        drawing.place(_curves(context, info), y)
        drawing.place(_rows(context, info, str(value.get("reason", ""))), drawing.height + 4)
    return drawing


def _curves(context: PanelContext, info: Mapping[str, Any]) -> Drawing:
    steps = info.get("steps", [])
    lines = {}
    if steps and any(info.get("energy", [])):
        most = max(info["energy"])
        lines["motion (share of the maximum)"] = [(t, e / most) for t, e in zip(steps, info["energy"], strict=True)]
    if steps and info.get("probability"):
        lines["in the span (probability)"] = list(zip(steps, info["probability"], strict=True))
    if steps and info.get("similarity"):
        low, high = min(info["similarity"]), max(info["similarity"])
        scaled = [(value - low) / max(high - low, 1e-6) for value in info["similarity"]]
        lines[f"similarity to the question ({low:.2f} to {high:.2f})"] = list(zip(steps, scaled, strict=True))
    return curves(context, lines, low=0.0, high=1.0) if lines else context.sheet()


def _rows(context: PanelContext, info: Mapping[str, Any], reason: str) -> Drawing:
    drawing, y = context.sheet(), 4.0
    spans = [span for span in info.get("spans", []) if span["end"] > span["start"]]
    for number, span in enumerate(spans[:6]):
        left, right = context.x(span["start"]), context.x(span["end"])
        score = "" if span["score"] is None else f", {span['score']:.0%}"
        if score and "similarity" in info:  # a cosine, no probability
            score = f", similarity {span['score']:.2f}"
        text = f"{span['start']:.2f} to {span['end']:.2f} s{score}"
        context.label(drawing, y + 11, "spans" if number == 0 else "")
        drawing.add(Box(left, y, max(2.0, right - left), _BAND - 2, PALETTE[number % len(PALETTE)], text))
        fits_right = right + 150 < context.width
        x, anchor = (right + 6, "start") if fits_right else (left - 6, "end")
        drawing.add(Words(x, y + 10, text, 10, FAINT, anchor))
        y += _BAND
    context.label(drawing, y + 11, "frames")
    for seconds in info.get("seconds", []):
        x = context.x(seconds)
        drawing.add(Line(((x, y), (x, y + _BAND - 2)), PALETTE[1], 2.0))
    drawing.add(Words(context.left, y + _BAND + 10, fit(f"chosen by {reason}", context.inner, 10), 10, FAINT))
    return drawing
