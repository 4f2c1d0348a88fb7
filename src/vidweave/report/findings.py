"""Findings of a check as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidweave.report.drawing import Drawing, Words, wrap
from vidweave.report.intervals import WIDTH
from vidweave.report.page import Page

__all__ = ["findings_page"]

MOST_LINES = 200  # per group; the JSON below has all lines


def findings_page(title: str, groups: Mapping[str, Sequence[str]], account: str) -> Page:
    """Build a page with a section per group, of at most 200 lines each.

    Args:
        account: All findings as JSON, collapsed.
    """
    sections = [(f"{name} ({len(lines)})", _lines(lines)) for name, lines in groups.items()]
    return Page(
        title,
        tuple(sections or [("No findings", _lines(["Everything is as the annotation says."]))]),
        account,
        "all findings",
    )


def _lines(lines: Sequence[str]) -> Drawing:
    shown = [*lines[:MOST_LINES], *([f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else [])]
    drawing = Drawing(WIDTH)
    for number, line in enumerate(wrap("\n".join(shown), WIDTH - 20, 11)):
        drawing.add(Words(10, 15 * (number + 1), line, 11))
    return drawing
