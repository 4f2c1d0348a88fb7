"""The panel of a memory over time: the frames of each entry, as a strip of runs per token, and neighbor similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.report.charts import curves
from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, Box, Drawing, Words

__all__ = ["memory_panel"]

RUNS, NOW = ("#7da3d6", "#c3d5ee"), "#d1782c"
MOST_HEIGHT, MOST_ROW = 190.0, 9.0
BINS = 60


def memory_panel(value: Sequence[Mapping[str, Any]], context: PanelContext) -> Drawing | None:
    """Draw the memory panel: per stream and scene `segments`, `seconds`, `policy`, `length` and `banks`, each
    with `tokens`, their `sizes` in segments, and the `similarity` of neighbors."""
    if not value:
        return None
    drawing, y = context.sheet(), 0.0
    for memory in value:
        for name, bank in memory["banks"].items():
            drawing.place(_strip(context, memory, name, bank), y)
            y = drawing.height + 6
            if lines := _similarity(context, memory, bank):
                drawing.place(curves(context, lines, high=1.0), y)
                y = drawing.height + 14
    return drawing


def _strip(context: PanelContext, memory: Mapping[str, Any], name: str, bank: Mapping[str, Any]) -> Drawing:
    """Draw a row per token; a change of shade separates merged entries; the newest segment is at the end."""
    drawing, sizes = context.sheet(), bank["sizes"]
    most = max(map(len, sizes), default=0)
    head = f"{memory['stream']}, {name} bank ({memory['policy']}): {memory['segments']} segments in at most {most} entries per token"
    drawing.add(Words(context.left, 12, head, 11, FAINT))
    row = min(MOST_ROW, MOST_HEIGHT / max(1, len(sizes)))
    x = _times(context, memory)
    for number, (token, runs) in enumerate(zip(bank["tokens"], sizes, strict=True)):
        y, first = 18 + number * row, memory["segments"] - 1 - sum(runs)
        for index, size in enumerate(runs):
            title = f"token {token}: segments {first} to {first + size - 1} are one entry"
            drawing.add(Box(x(first), y, x(first + size) - x(first), row - min(1, row / 5), RUNS[index % 2], title))
            first += size
        drawing.add(Box(x(first), y, max(2.0, x(first + 1) - x(first)), row, NOW, "the newest segment, unmerged"))
    context.label(drawing, 18 + len(sizes) * row / 2, f"{len(sizes)} tokens")
    time_axis(context, drawing, 18 + len(sizes) * row + 4)
    return drawing


def _similarity(
    context: PanelContext, memory: Mapping[str, Any], bank: Mapping[str, Any]
) -> dict[str, list[tuple[float, float]]]:
    """Mean and minimum cosine similarity of neighboring entries at their borders, over all tokens, in equal time bins."""
    bins: dict[int, list[float]] = {}
    steps = max(1, memory["segments"])
    for runs, similarity in zip(bank["sizes"], bank["similarity"], strict=True):
        border = steps - 1 - sum(runs)
        for size, value in zip(runs, similarity, strict=False):
            border += size
            if value is not None:
                bins.setdefault(min(BINS - 1, border * BINS // steps), []).append(value)
    seconds = _seconds(context, memory)
    times = {part: seconds((part + 0.5) * steps / BINS) for part in sorted(bins)}
    lines = {
        "mean similarity of neighbors": [(times[p], sum(bins[p]) / len(bins[p])) for p in times],
        "minimum": [(times[p], min(bins[p])) for p in times],
    }
    return lines if bins else {}


def _seconds(context: PanelContext, memory: Mapping[str, Any]):
    """Return a function from segment to seconds: by the frames of the stream if all of them are listed."""
    steps, (start, end) = max(1, memory["segments"]), memory["seconds"]
    times = sorted(use.pts_seconds for use in context.trace.frames if use.stream == memory["stream"])
    if len(times) != steps:
        return lambda step: start + (end - start) * min(1.0, step / steps)
    return lambda step: times[int(step)] if step < steps else end


def _times(context: PanelContext, memory: Mapping[str, Any]):
    seconds = _seconds(context, memory)
    return lambda step: context.x(seconds(step))
