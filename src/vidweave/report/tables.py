"""Tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TABLE_SUFFIXES", "Column", "csv_table", "latex_table", "markdown_table", "write_table"]

_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": "$<$", ">": "$>$"}
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: Heading.
        show: Formats a value for reading; CSV has the value itself.
        is_text: Align to the left.
    """

    name: str
    show: Callable[[Any], str] = str
    is_text: bool = False

    def cell(self, value: Any) -> str:
        """Format a value; None is empty."""
        return "" if value is None else self.show(value)


Rows = Sequence[Sequence[Any]]


def markdown_table(columns: Sequence[Column], rows: Rows) -> str:
    """Format as a Markdown table."""
    lines = [[column.name for column in columns], ["---" if column.is_text else "---:" for column in columns]]
    lines += [[c.cell(value).replace("|", "\\|") for c, value in zip(columns, row, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex_table(columns: Sequence[Column], rows: Rows) -> str:
    """Format as a LaTeX `tabular` with the rules of the package booktabs."""
    align = "".join("l" if column.is_text else "r" for column in columns)
    head = " & ".join(column.name.translate(_LATEX) for column in columns)
    body = [
        " & ".join(c.cell(value).translate(_LATEX) for c, value in zip(columns, row, strict=True)) + r" \\"
        for row in rows
    ]
    lines = [f"\\begin{{tabular}}{{{align}}}", r"\toprule", head + r" \\", r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_table(columns: Sequence[Column], rows: Rows) -> str:
    """Format as CSV with the unrounded values."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return file.getvalue()


_FORMS = {".md": markdown_table, ".tex": latex_table, ".csv": csv_table}
TABLE_SUFFIXES = tuple(_FORMS)


def write_table(path: Path, columns: Sequence[Column], rows: Rows) -> None:
    """Write a table in the form that the suffix of `path` names (`TABLE_SUFFIXES`)."""
    path.write_text(_FORMS[path.suffix](columns, rows), encoding="utf-8")
