"""Scores of a data set's scorers, denominators and the time of a run, as drawings and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidweave.report.drawing import FAINT, PALETTE, Box, Drawing, Words, fit, wrap
from vidweave.report.durations import format_seconds
from vidweave.report.intervals import WIDTH
from vidweave.report.tables import Column, markdown_table

__all__ = ["scores_markdown", "scores_sections"]

ROW, SIZE, LEFT = 17.0, 11.0, 10.0
COLUMNS = (  # name, place on the sheet
    ("scorer", LEFT),
    ("group", 300.0),
    ("value", 560.0),
    ("correct", 680.0),
)
Results = Mapping[str, Any]


def scores_sections(results: Results) -> Iterator[tuple[str, Drawing]]:
    """Yield titled drawings of what the JSON data of `vidweave evaluate` has: scores, denominators, time, notes."""
    if rows := list(_score_rows(results)):
        yield "Scores of the data set's scorers", _table(rows)
    if lines := _lines(results):
        yield "Denominators, intervals and notes", _paragraph(lines)
    if seconds := _seconds(results):
        yield "Time of the run", _bars(seconds)


def scores_markdown(results: Results) -> list[str]:
    """Format the same as parts of a Markdown page."""
    parts = []
    if rows := list(_score_rows(results)):
        columns = [Column(name=name, is_text=number != 2) for number, (name, _) in enumerate(COLUMNS)]
        parts += ["## Scores", markdown_table(columns, rows).rstrip()]
    if lines := _lines(results):
        parts += ["## Denominators, intervals and notes", *(f"- {line}" for line in lines)]
    if seconds := _seconds(results):
        columns = [Column(name="part", is_text=True), Column(name="seconds", show=lambda value: f"{value:.2f}")]
        parts += ["## Time", markdown_table(columns, list(seconds.items())).rstrip()]
    return parts


def _score_rows(results: Results) -> Iterator[tuple[str, str, str, str]]:
    for score in results.get("scores", ()):
        if "values" in score:
            yield from ((score["scorer"], name, f"{value:.4g}", "") for name, value in score["values"].items())
            continue
        for name, tally in score.items():
            if isinstance(tally, Mapping) and tally.get("percent") is not None:
                if name == "answered" and not score["num_missing"]:
                    continue
                yield (
                    score["scorer"],
                    name,
                    f"{tally['percent']:.2f}%",
                    f"{tally['num_correct']} of {tally['num_items']}",
                )


def _lines(results: Results) -> list[str]:
    lines = []
    if whole := results.get("all_questions"):
        missing = results["counts"]["missing_media"]
        lines.append(
            f"over all {whole['num_items']} questions with an answer: {whole['accuracy'] or 0:.1%} ({missing} without media, "
            f"wrong); over the {results['overall']['num_items']} that were asked: {results['overall']['accuracy']:.1%}"
        )
    if interval := results.get("clustered_interval"):
        lines.append(
            f"95% interval by recording ({results['counts']['videos']}): {interval[0]:.1%} to {interval[1]:.1%}"
        )
    if left := results.get("remainder"):
        share = "none is left" if left["accuracy"] is None else f"{left['accuracy']:.1%}"
        lines.append(f"over the {left['num_items']} questions that no baseline of the model answers: {share}")
    for score in results.get("scores", ()):
        lines += [f"{score['scorer']}: {defect}" for defect in score.get("defects", ())]
        if score.get("note"):
            lines.append(f"{score['scorer']}: {score['note']}")
    per_question = (results.get("timing") or {}).get("bookkeeping_cpu_ms_per_question")
    if per_question is not None:
        lines.append(f"bookkeeping: {per_question:.2f} ms of CPU per question")
    return list(dict.fromkeys([*lines, *results.get("notes", ())]))


def _seconds(results: Results) -> dict[str, float]:
    seconds = (results.get("timing") or {}).get("seconds", {})
    return {name: value for name, value in seconds.items() if value >= 0.0005}


def _table(rows: Sequence[Sequence[str]]) -> Drawing:
    drawing = Drawing(WIDTH)
    places = [place for _, place in COLUMNS]
    widths = [end - start - 8 for start, end in zip(places, [*places[1:], WIDTH], strict=True)]
    for name, place in COLUMNS:
        drawing.add(Words(place, 12, name, SIZE, FAINT))
    for number, row in enumerate(rows, 1):
        for text, place, width in zip(row, places, widths, strict=True):
            drawing.add(Words(place, 12 + ROW * number, fit(text, width, SIZE), SIZE))
    return drawing


def _paragraph(lines: Sequence[str]) -> Drawing:
    drawing = Drawing(WIDTH)
    for number, line in enumerate(wrap("\n".join(lines), WIDTH - 20, SIZE)):
        drawing.add(Words(LEFT, 15 * (number + 1), line, SIZE))
    return drawing


def _bars(seconds: Mapping[str, float]) -> Drawing:
    drawing, most = Drawing(WIDTH), max(seconds.values())
    total = sum(seconds.values())
    for number, (name, value) in enumerate(seconds.items()):
        y, length = ROW * number, 560 * value / most
        drawing.add(Words(120, y + 13, name, SIZE, anchor="end"))
        drawing.add(Box(130, y + 3, max(1.0, length), ROW - 5, PALETTE[0]))
        note = f"{format_seconds(value)}  ({value / total:.0%})"
        drawing.add(Words(138 + length, y + 13, note, SIZE, FAINT))
    return drawing
