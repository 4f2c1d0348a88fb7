"""`vidweave evaluate --frames 1,4,8`: measure one setting after another, and print a table of differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.cli.output import show, table
from vidweave.cli.predictions_file import predictions_path
from vidweave.cli.reports import write_report
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.evaluation.report import Report
    from vidweave.evaluation.sweep import Setting

__all__ = ["parse_settings", "sweep_and_show"]


def parse_settings(frames: str | None, fps: str | None, selectors: Sequence[str] = ()) -> list[Setting]:
    """Parse the values of --frames, --fps and --selector, separated by commas.

    Raises:
        ConfigError: Not numbers above 0, a value twice, or --frames together with --fps.
    """
    from vidweave.evaluation.sweep import settings_of

    return settings_of(_numbers("--frames", frames, int), _numbers("--fps", fps, float), selectors)


def _numbers(option: str, text: str | None, kind: type) -> list[Any]:
    if text is None:
        return []
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = [0]
    if not all(0 < value < 1e6 for value in values):
        what = "whole numbers of at least 1, e.g. 8 or 1,4,8" if kind is int else "numbers above 0, e.g. 1 or 0.5,1,2"
        raise ConfigError(f"{option} takes {what}; got {text!r}")
    return values


def sweep_and_show(
    settings: Sequence[Setting],
    measured: Callable[[Setting, Path], Report | None],
    *,
    predictions: str | None,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Measure every setting with a prediction file of its own, and show accuracies with differences to the first.

    Args:
        measured: Measures one setting; None where no question has a label.

    Raises:
        ConfigError: No question has a label.
    """
    from vidweave.evaluation.benchmarks.model_baselines import beside
    from vidweave.evaluation.sweep import sweep_rows

    with predictions_path(predictions) as path:
        files = [beside(path, setting.slug) for setting in settings]
        reports = []
        for setting, file in zip(settings, files, strict=True):
            if (report := measured(setting, file)) is None:
                raise ConfigError("a sweep compares accuracies, and no question has an answer; give one setting")
            reports.append(report)
        rows = [row.to_dict() for row in sweep_rows(settings, reports, files)]
    if predictions is None:
        rows = [{**row, "predictions": None} for row in rows]
    title = f"{reports[0].model.get('model', 'model')} on {reports[0].task.get('name', 'task')}"
    blind = [rule for rule in reports[0].baselines if rule.name != "chance"]
    references = {rule.name: rule.overall for rule in sorted(blind, key=lambda rule: -rule.overall)[:1]}
    data = {"title": title, "sweep": rows, "references": references, "manifest": dict(reports[0].manifest)}
    write_report(report_file, data)
    show(data, _text(rows), as_json=as_json)


def _text(rows: Sequence[dict[str, Any]]) -> str:
    from vidweave.report.sweep import SWEEP_COLUMNS, sweep_values

    shown = []
    for row in rows:
        label, accuracy, low, high, difference, d_low, d_high, _, p_holm, frames, items, seconds = (
            column.cell(value) for column, value in zip(SWEEP_COLUMNS, sweep_values(row), strict=True)
        )
        to_first = (difference, f"{d_low} to {d_high}", p_holm) if difference else ("-", "-", "-")
        shown.append((label, accuracy, f"{low} to {high}", *to_first, frames, items, seconds))
    header = (
        "setting",
        "accuracy",
        "95% interval",
        "minus first",
        "95% interval",
        "p Holm",
        "frames",
        "items",
        "seconds",
    )
    return table(shown, header)
