"""Write results to a file: HTML with plots (and an image of it), Markdown or JSON, chosen by the suffix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidweave.errors import ConfigError

__all__ = ["ReportFile", "check_report_file", "write_report"]

ReportFile = Annotated[
    Path | None,
    typer.Option("--report", help="File for the results: .html (a page with plots), .md or .json."),
]
SUFFIXES = (".html", ".md", ".json")


def check_report_file(path: Path | None) -> None:
    """Check the suffix and folder of --report before anything is computed; raises ConfigError."""
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--report must end in {', '.join(SUFFIXES)}, got {path.name!r}")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder of --report does not exist: {str(path.parent)!r}")


def write_report(path: Path | None, data: Mapping[str, Any]) -> None:
    """Write a result, a comparison (`data` then has a `first` or `comparisons` key), or a sweep (`sweep`)."""
    if path is None:
        return
    from vidweave.report.results import comparison_markdown, comparison_page, results_markdown, results_page
    from vidweave.report.sweep import sweep_markdown, sweep_page

    is_comparison = "first" in data or "comparisons" in data
    page, markdown = results_page, results_markdown
    if "sweep" in data:
        page, markdown = sweep_page, sweep_markdown
    elif is_comparison:
        page, markdown = comparison_page, comparison_markdown
    if path.suffix == ".html":
        page(data).save(path)
    elif path.suffix == ".md":
        path.write_text(markdown(data), encoding="utf-8")
    else:
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
