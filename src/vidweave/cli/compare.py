"""`vidweave compare`: compare evaluation runs item by item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.output import Json, show, table
from vidweave.cli.reports import ReportFile, check_report_file, write_report
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.evaluation.compare import Comparison, Difference

__all__ = ["compare"]


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Predictions of a run (--predictions of vidweave evaluate).")
    ],
    others: Annotated[list[Path], typer.Argument(metavar="B...", help="Predictions of other runs on the same items.")],
    report_file: ReportFile = None,
    export: Annotated[
        Path | None, typer.Option(help="File for the table: .md, .tex (booktabs) or .csv (unrounded).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare evaluation runs item by item: accuracy of A minus B, with paired 95% intervals.

    Several B are each compared with A. The column "p Holm" is adjusted for all tests in the table.
    """
    check_report_file(report_file)
    _check_export(export)
    from vidweave.evaluation.compare import compare_many
    from vidweave.report.tables import write_table

    names = _names(others)
    comparisons = dict(zip(names, compare_many(first, others), strict=True))
    data: dict[str, Any] = (
        comparisons[names[0]].to_dict()
        if len(others) == 1
        else {"comparisons": {name: comparison.to_dict() for name, comparison in comparisons.items()}}
    )
    write_report(report_file, data)
    rows = _rows(comparisons)
    if export is not None:
        write_table(export, _columns(len(others)), rows)
    show(data, _text(comparisons, rows), as_json=as_json)


def _check_export(path: Path | None) -> None:
    from vidweave.report.tables import TABLE_SUFFIXES

    if path is None:
        return
    if path.suffix not in TABLE_SUFFIXES:
        raise ConfigError(f"--export must end in {', '.join(TABLE_SUFFIXES)}, got {path.name!r}")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder of --export does not exist: {str(path.parent)!r}")


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each run by its file, or by its path if two files have one name."""
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(f"a run is given twice among {', '.join(names)}; give each once")
    return names


def _rows(comparisons: dict[str, Comparison]) -> list[list[Any]]:
    """Values of each reported difference; with several runs, the run is the first value."""
    rows = []
    for name, comparison in comparisons.items():
        for title, differences in comparison.groups.items():
            rows += [[*([name] if len(comparisons) > 1 else []), *_values(title, d)] for d in differences]
    return rows


def _values(title: str, row: Difference) -> list[Any]:
    name = f"{title}: {row.name}" if title else row.name
    numbers = [row.difference, row.low, row.high, row.first, row.second, row.num_items, row.p_value, row.p_holm]
    return [name, *numbers]


def _columns(num_others: int) -> list[Any]:
    from vidweave.report.tables import Column

    def signed(value: float) -> str:
        return f"{value:+.1%}"

    def share(value: float) -> str:
        return f"{value:.1%}"

    run = [Column(name="B", is_text=True)] if num_others > 1 else []
    second = "accuracy of B"
    return [
        *run,
        Column(name="items of", is_text=True),
        *(Column(name=name, show=signed) for name in ("A - B", "low", "high")),
        *(Column(name=name, show=share) for name in ("accuracy of A", second)),
        Column(name="items"),
        *(Column(name=name, show=lambda value: f"{value:.2g}") for name in ("p", "p Holm")),
    ]


def _text(comparisons: dict[str, Comparison], rows: Sequence[Sequence[Any]]) -> str:
    columns = _columns(len(comparisons))
    shown = []
    for row in rows:
        *before, difference, low, high, first, second, items, p_value, p_holm = (
            column.cell(value) for column, value in zip(columns, row, strict=True)
        )
        shown.append((*before, difference, f"{low} to {high}", first, second, items, p_value, p_holm))
    run = ("run B",) if len(comparisons) > 1 else ()
    lines = [table(shown, (*run, "", "A - B", "95% interval", "A", "B", "items", "p", "p Holm"))]
    number = next(iter(comparisons.values())).num_tests
    if number > 1:
        lines.append(f"p Holm is adjusted for {number} tests")
    for name, comparison in comparisons.items():
        other = "B" if len(comparisons) == 1 else name
        lines += [
            f"{count} items that only {who} has are excluded"
            for who, count in (("A", comparison.missing_in_second), (other, comparison.missing_in_first))
            if count
        ]
    return "\n".join(lines)
