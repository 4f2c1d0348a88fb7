"""Shared context of all panels: the trace, and one time axis for the whole page."""

from __future__ import annotations

from dataclasses import dataclass

from vidweave.report.drawing import FAINT, Drawing, Line, Words
from vidweave.report.durations import format_seconds
from vidweave.types import Trace

__all__ = ["PanelContext", "time_axis"]


@dataclass(frozen=True)
class PanelContext:
    """Layout shared by all panels: those over time use `x(seconds)`, so that they align with the frames above them.

    Attributes:
        trace: The complete trace.
        span: Start and end of the clip on the page, in seconds.
        width: Width of every drawing, in pixels; row names use the `left` margin, the `right` one stays empty.
    """

    trace: Trace
    span: tuple[float, float]
    width: float = 960.0
    left: float = 130.0
    right: float = 20.0

    @property
    def inner(self) -> float:
        """Pixels between the margins."""
        return self.width - self.left - self.right

    def x(self, seconds: float) -> float:
        """Map a time to pixels; times outside the span map to its ends."""
        start, end = self.span
        share = (seconds - start) / (end - start) if end > start else 0.5
        return self.left + self.inner * min(1.0, max(0.0, share))

    def sheet(self) -> Drawing:
        """Create an empty drawing."""
        return Drawing(self.width)

    def label(self, drawing: Drawing, y: float, text: str) -> None:
        """Draw the name of a row, in the left margin."""
        drawing.add(Words(self.left - 8, y, text, 11, anchor="end"))


def time_axis(context: PanelContext, drawing: Drawing, y: float) -> float:
    """Draw the axis at `y`; return the y below it."""
    start, end = context.span
    drawing.add(Line(((context.left, y), (context.left + context.inner, y))))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        seconds = start + share * (end - start)
        x = context.x(seconds) if end > start else context.left + share * context.inner
        drawing.add(
            Line(((x, y), (x, y + 4))), Words(x, y + 16, format_seconds(seconds, has_parts=False), 10, FAINT, "middle")
        )
        if end <= start:
            break
    return y + 22
