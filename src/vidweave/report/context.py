"""What every panel is drawn with: the trace, and one time axis for the whole page."""

from __future__ import annotations

from dataclasses import dataclass

from vidweave.report.drawing import FAINT, Drawing, Line, Words
from vidweave.report.durations import format_seconds
from vidweave.types import Trace

__all__ = ["PanelContext", "time_axis"]


@dataclass(frozen=True)
class PanelContext:
    """Panels that show time put it at `x(seconds)`, so that they line up with the pictures above them.

    Attributes:
        trace: The whole account.
        span: Seconds from which to which the page shows the clip.
        width: Of every drawing, in pixels; names of rows stand in the `left` ones, nothing in the `right` ones.
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
        """Where a time stands, in pixels; times outside the span stand at its ends."""
        start, end = self.span
        share = (seconds - start) / (end - start) if end > start else 0.5
        return self.left + self.inner * min(1.0, max(0.0, share))

    def sheet(self) -> Drawing:
        """An empty drawing."""
        return Drawing(self.width)

    def label(self, drawing: Drawing, y: float, text: str) -> None:
        """The name of a row, in the left margin."""
        drawing.add(Words(self.left - 8, y, text, 11, anchor="end"))


def time_axis(context: PanelContext, drawing: Drawing, y: float) -> float:
    """Draw the axis at `y`; the y below it."""
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
