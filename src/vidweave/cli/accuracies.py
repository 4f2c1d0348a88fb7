"""A text table of accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidweave.cli.output import table

if TYPE_CHECKING:
    from vidweave.evaluation.report import Report

__all__ = ["accuracy_table"]


def accuracy_table(report: Report) -> str:
    """Format the accuracies per question type and overall as a text table."""
    rows: list[tuple[Any, ...]] = [
        (
            a.question_type,
            f"{a.accuracy:.1%}",
            f"{a.low:.1%} to {a.high:.1%}",
            "-" if a.chance is None else f"{a.chance:.1%}",
            a.num_items,
        )
        for a in (*report.question_types, report.overall)
    ]
    return table(rows, ("question type", "accuracy", "95% interval", "chance", "items"))
