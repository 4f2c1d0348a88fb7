"""Page of a training run: curves, trainable parameters, and answers to held-out questions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.report.drawing import Box, Drawing, Line, Words, wrap
from vidweave.report.intervals import WIDTH
from vidweave.report.page import Page

__all__ = ["training_page"]

HEIGHT = 150.0
LEFT = 56.0
MOST_EXAMPLES = 12
MOST_POINTS = 400
COLORS = {"loss": "#3366aa", "accuracy": "#2a7d4f", "validation loss": "#b5541c"}

Curve = Sequence[tuple[float, float]]


def training_page(
    *,
    title: str,
    losses: Curve,
    metrics: Mapping[str, Curve],
    trained: Mapping[str, tuple[int, int]],
    examples: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> Page:
    """Build the page.

    Args:
        losses: (step, training loss).
        metrics: `accuracy` and `loss` on the validation data: name → (step, value); may be empty.
        trained: Slot → number of parameters, and how many were trained.
        examples: Held-out questions: `id`, `question`, `answer`, `given`, `right`.
        figures: Final figures, e.g. accuracy and its interval.
        manifest: Settings and outputs, collapsed.
    """
    sections = [("Result", _lines([_result(figures, len(examples))]))]
    curves = {"loss": losses, "validation loss": metrics.get("loss", ())}
    if any(curves.values()):
        sections.append(("Loss per step", _plot({name: line for name, line in curves.items() if line})))
    if accuracy := metrics.get("accuracy", ()):
        sections.append(("Validation accuracy per step", _plot({"accuracy": accuracy}, low=0.0, high=1.0)))
    total, moved = sum(all_ for all_, _ in trained.values()), sum(own for _, own in trained.values())
    shares = [f"{slot}: {own:,} of {count:,} parameters" for slot, (count, own) in trained.items() if count]
    sections.append(("Trained", _lines([f"{moved:,} of {total:,} parameters", *shares])))
    for name, is_right in (("Answered right", True), ("Answered wrong", False)):
        rows = [row for row in examples if row["right"] is is_right]
        if rows:
            sections.append(
                (f"{name} ({len(rows)} of {len(examples)})", _lines([_example(r) for r in rows[:MOST_EXAMPLES]]))
            )
    account = json.dumps({"figures": dict(figures), **manifest, "examples": list(examples)}, indent=1, default=str)
    return Page(title, tuple(sections), account, "settings, outputs and all answers")


def _result(figures: Mapping[str, Any], count: int) -> str:
    if not figures:
        return "trained without validation data; give val=FILE to measure the result"
    low, high = figures["interval"]
    return f"accuracy {figures['accuracy']:.1%} ({low:.1%} to {high:.1%}) on {count} held-out questions, loss {figures['loss']:.4f}"


def _example(row: Mapping[str, Any]) -> str:
    expected = "" if row["right"] else f" (expected: {row['answer']})"
    return f"{row['question']} {row['given']}{expected}"


def _plot(lines: Mapping[str, Curve], *, low: float | None = None, high: float | None = None) -> Drawing:
    """Draw lines of (step, value) with axes and a legend."""
    drawing = Drawing(WIDTH)
    steps = [step for line in lines.values() for step, _ in line]
    values = [value for line in lines.values() for _, value in line]
    low, high = (min(values) if low is None else low), (max(values) if high is None else high)
    first, last, span = min(steps), max(steps), (high - low) or 1.0
    inner = WIDTH - LEFT - 20

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step - first) / ((last - first) or 1.0)
        return LEFT + across * inner, 12 + (1 - (value - low) / span) * (HEIGHT - 12)

    for value in (high, (low + high) / 2, low):
        _, y = place(first, value)
        drawing.add(Line(((LEFT, y), (LEFT + inner, y)), "#e4e4e4"), Words(4, y + 4, f"{value:.3g}", 11))
    legend = LEFT
    for name, line in lines.items():
        color = COLORS[name]
        points = tuple(place(step, value) for step, value in _thinned(line))
        drawing.add(*([Line(points, color, 1.5)] if len(points) > 1 else []))
        if len(points) < 40:
            drawing.add(*(Box(x - 2, y - 2, 4, 4, color) for x, y in points))
        drawing.add(Words(legend, HEIGHT + 36, name, 12, color))
        legend += 8 * len(name) + 28
    drawing.add(
        Words(LEFT, HEIGHT + 18, f"step {first:g}", 11), Words(LEFT + inner - 60, HEIGHT + 18, f"step {last:g}", 11)
    )
    return drawing


def _thinned(line: Curve) -> Curve:
    """Reduce to at most MOST_POINTS points, each the mean of its neighbors."""
    if len(line) <= MOST_POINTS:
        return line
    size = len(line) / MOST_POINTS
    groups = [line[int(i * size) : int((i + 1) * size)] for i in range(MOST_POINTS)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _lines(lines: Sequence[str]) -> Drawing:
    drawing = Drawing(WIDTH)
    for number, line in enumerate(wrap("\n".join(lines), WIDTH - 20, 12)):
        drawing.add(Words(10, 16 * (number + 1), line, 12))
    return drawing
