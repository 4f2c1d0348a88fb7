"""The panel of a memory over time: what each entry averages, per token as a strip of runs, and how alike neighbours are."""

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
    """`value` is the connector's account: per stream and scene `groups`, `seconds`, `policy`, `length` and `banks`, each
    with `tokens`, their `sizes` in time, and the `similarity` of neighbours."""
    if not value:
        return None
    drawing, y = context.sheet(), 0.0
    for memory in value:
        for name, bank in memory["banks"].items():
            drawing.place(_strip(context, memory, name, bank), y)
            y = drawing.height + 6
            if lines := _likeness(context, memory, bank):
                drawing.place(curves(context, lines, high=1.0), y)
                y = drawing.height + 14
    return drawing


def _strip(context: PanelContext, memory: Mapping[str, Any], name: str, bank: Mapping[str, Any]) -> Drawing:
    """A row per token; a change of shade is the border of a run that became one entry; the newest segment at the end."""
    drawing, sizes = context.sheet(), bank["sizes"]
    most = max(map(len, sizes), default=0)
    head = f"{memory['stream']}, {name} bank ({memory['policy']}): {memory['groups']} segments in at most {most} entries per token"
    drawing.add(Words(context.left, 12, head, 11, FAINT))
    row = min(MOST_ROW, MOST_HEIGHT / max(1, len(sizes)))
    x = _times(context, memory)
    for number, (token, runs) in enumerate(zip(bank["tokens"], sizes, strict=True)):
        y, first = 18 + number * row, memory["groups"] - 1 - sum(runs)
        for index, size in enumerate(runs):
            title = f"token {token}: segments {first} to {first + size - 1} are one entry"
            drawing.add(Box(x(first), y, x(first + size) - x(first), row - min(1, row / 5), RUNS[index % 2], title))
            first += size
        drawing.add(Box(x(first), y, max(2.0, x(first + 1) - x(first)), row, NOW, "the newest segment, as it is"))
    context.label(drawing, 18 + len(sizes) * row / 2, f"{len(sizes)} tokens")
    time_axis(context, drawing, 18 + len(sizes) * row + 4)
    return drawing


def _likeness(
    context: PanelContext, memory: Mapping[str, Any], bank: Mapping[str, Any]
) -> dict[str, list[tuple[float, float]]]:
    """Mean and least cosine of neighbouring entries where their borders lie, over all tokens, in equal parts of time."""
    found: dict[int, list[float]] = {}
    segments = max(1, memory["groups"])
    for runs, likeness in zip(bank["sizes"], bank["similarity"], strict=True):
        border = segments - 1 - sum(runs)
        for size, value in zip(runs, likeness, strict=False):
            border += size
            if value is not None:
                found.setdefault(min(BINS - 1, border * BINS // segments), []).append(value)
    seconds = _seconds(context, memory)
    times = {part: seconds((part + 0.5) * segments / BINS) for part in sorted(found)}
    lines = {
        "mean similarity of neighbours": [(times[p], sum(found[p]) / len(found[p])) for p in times],
        "least": [(times[p], min(found[p])) for p in times],
    }
    return lines if found else {}


def _seconds(context: PanelContext, memory: Mapping[str, Any]):
    """A function from the number of a segment to seconds: by the pictures of the stream where they are all listed."""
    segments, (start, end) = max(1, memory["groups"]), memory["seconds"]
    times = sorted(use.pts_seconds for use in context.trace.frames if use.stream == memory["stream"])
    if len(times) != segments:
        return lambda segment: start + (end - start) * min(1.0, segment / segments)
    return lambda segment: times[int(segment)] if segment < segments else end


def _times(context: PanelContext, memory: Mapping[str, Any]):
    seconds = _seconds(context, memory)
    return lambda segment: context.x(seconds(segment))
