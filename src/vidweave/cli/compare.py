"""`vidweave compare`: compare two evaluation runs item by item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidweave.cli.output import Json, show, table
from vidweave.cli.reports import ReportFile, check_report_file, write_report

if TYPE_CHECKING:
    from vidweave.evaluation.compare import Comparison

__all__ = ["compare"]


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Predictions of a run (--predictions of vidweave evaluate).")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Predictions of another run on the same items.")],
    report_file: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluation runs item by item: accuracy of A minus B, with paired 95% intervals."""
    check_report_file(report_file)
    from vidweave.evaluation.compare import compare_files

    comparison = compare_files(first, second)
    data = comparison.to_dict()
    write_report(report_file, data)
    show(data, _text(comparison), as_json=as_json)


def _text(comparison: Comparison) -> str:
    from vidweave.report.results import has_distinct_types

    question_types = (
        {"question type": comparison.question_types}
        if has_distinct_types(comparison.question_types, comparison.facets)
        else {}
    )
    groups = {"": [comparison.overall], **question_types, **comparison.facets}
    rows = [
        (
            f"{title}: {d.name}" if title else d.name,
            f"{d.difference:+.1%}",
            f"{d.low:+.1%} to {d.high:+.1%}",
            f"{d.first:.1%}",
            f"{d.second:.1%}",
            d.num_items,
            f"{d.p_value:.2g}",
        )
        for title, differences in groups.items()
        for d in differences
        if not title or len(differences) > 1
    ]
    lines = [table(rows, ("", "A - B", "95% interval", "A", "B", "items", "p"))]
    lines += [
        f"{count} items that only {name} has are excluded"
        for name, count in (("A", comparison.missing_in_second), ("B", comparison.missing_in_first))
        if count
    ]
    return "\n".join(lines)
