"""The result of a run, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidweave.evaluation.metrics import Accuracy, accuracies, accuracy_of
from vidweave.evaluation.records import Record

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Accuracies of a run.

    Attributes:
        task, model: What was run, as they describe themselves.
        families: Per family, in order of first appearance.
        overall: Over all items.
        num_resumed: Items whose records were there already.
        seconds: Wall time of this call.
    """

    task: Mapping[str, Any]
    model: Mapping[str, Any]
    families: tuple[Accuracy, ...]
    overall: Accuracy
    num_resumed: int
    seconds: float

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        *,
        task: Mapping[str, Any],
        model: Mapping[str, Any],
        num_resumed: int = 0,
        seconds: float = 0.0,
    ) -> Report:
        """The report of records, at least one."""
        return cls(
            task=task,
            model=model,
            families=tuple(accuracies(records)),
            overall=accuracy_of("all", list(records)),
            num_resumed=num_resumed,
            seconds=seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "task": dict(self.task),
            "model": dict(self.model),
            "families": [accuracy.to_dict() for accuracy in self.families],
            "overall": self.overall.to_dict(),
            "num_resumed": self.num_resumed,
            "seconds": self.seconds,
        }

    def table(self) -> Table:
        """For a terminal: ``rich.print(report.table())``."""
        from rich.table import Table

        table = Table(title=f"{self.model.get('model', 'model')} on {self.task.get('name', 'task')}")
        for heading in ("family", "accuracy", "95% interval", "chance", "right", "items"):
            table.add_column(heading, justify="left" if heading == "family" else "right")
        for accuracy in self.families:
            table.add_row(*_cells(accuracy))
        table.add_section()
        table.add_row(*_cells(self.overall))
        return table


def _cells(accuracy: Accuracy) -> list[str]:
    chance = "-" if accuracy.chance is None else f"{accuracy.chance:.1%}"
    interval = f"{accuracy.low:.1%} to {accuracy.high:.1%}"
    counts = [str(accuracy.num_correct), str(accuracy.num_items)]
    return [accuracy.family, f"{accuracy.accuracy:.1%}", interval, chance, *counts]
