"""The result of an evaluation as a page with plots, or as Markdown: the model beside blind baselines and papers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from vidweave.report.drawing import PALETTE, Drawing, Words, wrap
from vidweave.report.intervals import WIDTH, Figure, intervals, name_width
from vidweave.report.page import Page
from vidweave.report.scores import scores_markdown, scores_sections

__all__ = ["comparison_markdown", "comparison_page", "results_markdown", "results_page", "has_distinct_types"]

MOST_ROWS = 60  # rows of one chart; the JSON has all of them
Results = Mapping[str, Any]


def results_page(results: Results) -> Page:
    """Build the page of a result, given as the JSON data that `vidweave evaluate --json` prints."""
    charts = {f"Accuracy of {_title(results)}": _overall(results)}
    charts |= {f"By {title}": rows for title, rows in _breakdowns(results)}
    if results.get("choices"):
        charts["How often each option was chosen (bar) and correct (tick)"] = _choices(results)
    sections = [*_charts(charts), *scores_sections(results)]
    if sources := [f"{row['name']}: {row['source']}" for row in results.get("published", ())]:
        sections.append(("Sources of published numbers", _lines(sources)))
    sections.append(("Made with", _lines(_made_with(results))))
    return Page(_title(results), tuple(sections), _json(results), "all figures")


def results_markdown(results: Results) -> str:
    """Format the same values as Markdown tables."""
    parts = [f"# {_title(results)}", _table(("", "accuracy", "95% interval", "note"), map(_cells, _overall(results)))]
    for title, rows in _breakdowns(results):
        marks = list(dict.fromkeys(name for row in rows for name in row.marks))
        header = (title, "accuracy", "95% interval", "right", *marks)
        cells = ([*_cells(row), *(_share(row.marks.get(name)) for name in marks)] for row in rows)
        parts += [f"## By {title}", _table(header, cells)]
    if results.get("choices"):
        rows = ((row.name, _share(row.value), _share(row.marks["right"])) for row in _choices(results))
        parts += ["## Options", _table(("option", "chosen", "right"), rows)]
    parts += scores_markdown(results)
    parts += ["## Made with", *(f"- {line}" for line in _made_with(results))]
    return _joined(parts)


def comparison_page(comparison: Results) -> Page:
    """Build the page of compared runs, given as the JSON data that `vidweave compare --json` prints."""
    charts = {title: rows for one in _comparisons(comparison) for title, rows in _differences(*one)}
    ends = (abs(end) for rows in charts.values() for row in rows for end in (row.low, row.high) if end is not None)
    reach = max(0.04, *ends)
    sections = _charts(charts, -reach, reach)
    compared = [line for _, one in _comparisons(comparison) for line in _compared(one)]
    sections.append(("Compared", _lines(list(dict.fromkeys(compared)))))
    return Page("Runs compared", tuple(sections), _json(comparison), "all figures")


def comparison_markdown(comparison: Results) -> str:
    """Format the same values as Markdown tables."""
    compared = [line for _, one in _comparisons(comparison) for line in _compared(one)]
    parts = ["# Runs compared", *(f"- {line}" for line in dict.fromkeys(compared))]
    for title, rows in (item for one in _comparisons(comparison) for item in _differences(*one)):
        header = ("", "first minus second", "95% interval", "accuracies")
        parts += [
            f"## {title}",
            _table(header, ([row.name, f"{row.value:+.1%}", _span(row), row.note] for row in rows)),
        ]
    return _joined(parts)


def _comparisons(data: Results) -> list[tuple[str, Results]]:
    """List the name of each second run with its comparison; the name is empty if there is only one."""
    return list(data["comparisons"].items()) if "comparisons" in data else [("", data)]


# -- rows


def _overall(results: Results) -> list[Figure]:
    """List the model, controls, baselines and published results, one below the other."""
    whole = results["overall"]
    rows = [_figure(whole, str(results["model"].get("model", "model")), PALETTE[0])]
    rows += [_figure(control, name, PALETTE[6]) for name, control in results.get("controls", {}).items()]
    for name, value in results.get("measures", {}).items():
        rows.append(Figure(name=name, value=None, note="no value" if value is None else f"{value:.3f}"))
    for rule in results.get("baselines", ()):
        gain = f"model {rule['gain']:+.1%} ({rule['low']:+.1%} to {rule['high']:+.1%})"
        rows.append(Figure(name=rule["name"], value=rule["overall"], note=gain, colour=PALETTE[1]))
    for row in results.get("published", ()):
        if row["overall"] is not None:
            note = f"published: {row['source'].partition(':')[0]}"
            rows.append(Figure(name=row["name"], value=_scaled(row), note=note, colour="#cfcfcf"))
    return rows


def _breakdowns(results: Results) -> Iterator[tuple[str, list[Figure]]]:
    facets = results.get("facets", {})
    if has_distinct_types(results["question_types"], facets):
        yield "question type", [_figure(accuracy) for accuracy in results["question_types"]]
    for title, groups in facets.items():
        if len(groups) > 1:
            yield title, [_figure(group, marks=_marks(results, title, group["question_type"])) for group in groups]


def has_distinct_types(question_types: Sequence[Any], facets: Mapping[str, Sequence[Any]]) -> bool:
    """Whether there are several question types, and no facet has the same breakdown under another name."""
    return len(question_types) > 1 and not any(all(f in groups for f in question_types) for groups in facets.values())


def _marks(results: Results, facet: str, value: str) -> dict[str, float]:
    """Values of the strongest baseline and the papers for one row."""
    rules = sorted(results.get("baselines", ()), key=lambda rule: -rule["overall"])[:1]
    marks = {rule["name"]: rule["facets"].get(facet, {}).get(value) for rule in rules}
    for row in results.get("published", ()):
        number = row["facets"].get(facet, {}).get(value)
        marks[f"{row['name']} (published)"] = None if number is None else _scaled(row, number)
    return {name: number for name, number in marks.items() if number is not None}


def _figure(
    accuracy: Mapping[str, Any], name: str = "", colour: str = "#9db7da", marks: Mapping[str, float] | None = None
) -> Figure:
    note = f"{accuracy['num_correct']} of {accuracy['num_items']}"
    return Figure(
        name=name or accuracy["question_type"],
        value=accuracy["accuracy"],
        note=note,
        low=accuracy["low"],
        high=accuracy["high"],
        marks=marks or {},
        colour=colour,
    )


def _choices(results: Results) -> list[Figure]:
    counts = results["choices"]
    total = sum(count["chosen"] for count in counts.values()) or 1
    return [
        Figure(
            name=f"option {name}" if name != "none" else "no option",
            value=count["chosen"] / total,
            note=f"chosen {count['chosen']}, right {count['right']}",
            marks={"right": count["right"] / total},
        )
        for name, count in counts.items()
    ]


def _differences(name: str, comparison: Results) -> Iterator[tuple[str, list[Figure]]]:
    second, run = (name, f" ({name})") if name else (_named(comparison, "second"), "")
    yield f"Overall: {_named(comparison, 'first')} minus {second}", [_difference(comparison["overall"])]
    if has_distinct_types(comparison["question_types"], comparison["facets"]):
        yield f"By question type{run}", [_difference(row) for row in comparison["question_types"]]
    for facet, rows in comparison["facets"].items():
        if len(rows) > 1:
            yield f"By {facet}{run}", [_difference(row) for row in rows]


def _difference(row: Mapping[str, Any]) -> Figure:
    p_values = f"p {row['p_value']:.1g}, Holm {row['p_holm']:.1g}"
    note = f"{row['first']:.1%}, {row['second']:.1%} of {row['num_items']}; {p_values}"
    return Figure(name=row["name"], value=row["difference"], low=row["low"], high=row["high"], note=note)


# -- words


def _title(results: Results) -> str:
    return f"{results['model'].get('model', 'model')} on {results['task'].get('name', 'task')}"


def _made_with(results: Results) -> list[str]:
    manifest = results.get("manifest") or {"task": results["task"], "model": results["model"]}
    covered = {"coverage": results["coverage"]} if "coverage" in results else {}
    return [f"{n}: {_plain(value)}" for n, value in {**manifest, **covered}.items() if value not in (None, {}, [])]


def _named(comparison: Results, which: str) -> str:
    """Name the model of the first or second run, as in its predictions."""
    return str(comparison[which].get("model", {}).get("model", which))


def _compared(comparison: Results) -> list[str]:
    lines = [f"{name}: {_plain(comparison[name])}" for name in ("first", "second")]
    missing = comparison["missing_in_first"], comparison["missing_in_second"]
    return [*lines, f"items of only one run, skipped: {missing[0]} missing in first, {missing[1]} in second"]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _lines(lines: Sequence[str]) -> Drawing:
    drawing = Drawing(WIDTH)
    for number, line in enumerate(wrap("\n".join(lines), WIDTH - 20, 11)):
        drawing.add(Words(10, 15 * (number + 1), line, 11))
    return drawing


def _charts(groups: Mapping[str, Sequence[Figure]], low: float = 0.0, high: float = 1.0) -> list[tuple[str, Drawing]]:
    """Draw a chart per group, with a shared axis and colors, of the first rows, and note the number of further rows."""
    shown = [row for rows in groups.values() for row in rows[:MOST_ROWS]]
    left, marked = name_width(shown), list(dict.fromkeys(name for row in shown for name in row.marks))
    sections = []
    for title, rows in groups.items():
        drawing = intervals(rows[:MOST_ROWS], low=low, high=high, left=left, marked=marked)
        if len(rows) > MOST_ROWS:
            note = f"{len(rows) - MOST_ROWS} more rows are in the JSON data"
            drawing.add(Words(10, drawing.height + 16, note, 11))
        sections.append((title, drawing))
    return sections


def _json(data: Results) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1, default=str)


def _scaled(row: Mapping[str, Any], value: float | None = None) -> float:
    """Convert a published number to a share."""
    number = row["overall"] if value is None else value
    return number / 100 if "%" in row["metric"] else number


def _cells(figure: Figure) -> list[str]:
    return [figure.name, _share(figure.value), _span(figure), figure.note]


def _span(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:.1%} to {figure.high:.1%}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _joined(parts: Sequence[str]) -> str:
    """Join parts with blank lines, list items without."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += ("\n" if before.startswith("- ") and part.startswith("- ") else "\n\n") + part
    return text + "\n"
