"""The result of a run, as data and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidweave.evaluation.choices import chosen_option
from vidweave.evaluation.manifest import run_manifest
from vidweave.evaluation.metrics import Accuracy, accuracies, accuracy_of, facet_names
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.references import Baseline, Published, published

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Accuracies of a run, with baselines and published numbers.

    Attributes:
        task, model: Descriptions of the task and the model.
        question_types: Accuracies per question type, in order of first appearance.
        overall: Accuracy over all items.
        facets: Name of a breakdown → accuracy per group.
        choices: Letter of an option (`A` is the first) → how often it was chosen and how often it was correct; `none` for
            outputs that choose no option, which are wrong. Empty if items have no options.
        baselines: Blind baselines on the same items.
        published: Numbers from papers for the same task.
        manifest: Manifest of the run (`run_manifest`).
        num_resumed: Number of items recorded by earlier runs.
        seconds: Wall time of this call.
        timing: How it splits into decoding, encoding, answering and bookkeeping (`evaluation.timing`).
        notes: Notes about the run: reductions of the batch size.
    """

    task: Mapping[str, Any]
    model: Mapping[str, Any]
    question_types: tuple[Accuracy, ...]
    overall: Accuracy
    facets: Mapping[str, tuple[Accuracy, ...]] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    published: tuple[Published, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    num_resumed: int = 0
    seconds: float = 0.0
    timing: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        predictions: Sequence[Prediction],
        *,
        task: Mapping[str, Any],
        model: Mapping[str, Any],
        decoding: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
        crossings: Sequence[Sequence[str]] = (),
        baselines: Mapping[str, Mapping[str, float]] | None = None,
        num_resumed: int = 0,
        seconds: float = 0.0,
        timing: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> Report:
        """Build the report of at least one prediction.

        Args:
            more: Further entries of the manifest: the wording, the judge.
            crossings: Combinations of facets to break down by, besides each facet alone.
            baselines: Name of a rule → item id → its score there.
        """
        names = [(name,) for name in facet_names(predictions)] + [tuple(names) for names in crossings]
        facets = {" x ".join(names): names for names in names}
        return cls(
            task=task,
            model=model,
            question_types=tuple(accuracies(predictions)),
            overall=accuracy_of("all", list(predictions)),
            facets={title: tuple(accuracies(predictions, names)) for title, names in facets.items()},
            choices=_choices(predictions),
            baselines=tuple(Baseline.of(name, s, predictions, facets) for name, s in (baselines or {}).items()),
            published=tuple(published(str(task.get("name")))),
            manifest=run_manifest(
                {"task": task, "model": model, "decoding": decoding or {}, **(more or {})}, predictions
            ),
            num_resumed=num_resumed,
            seconds=seconds,
            timing=dict(timing or {}),
            notes=tuple(notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON data; `macro` is the unweighted mean over the groups of a breakdown."""
        return {
            "task": dict(self.task),
            "model": dict(self.model),
            "question_types": [accuracy.to_dict() for accuracy in self.question_types],
            "overall": self.overall.to_dict(),
            "facets": {title: [a.to_dict() for a in groups] for title, groups in self.facets.items()},
            "macro": {t: sum(a.accuracy for a in groups) / len(groups) for t, groups in self.facets.items() if groups},
            "choices": {position: dict(counts) for position, counts in self.choices.items()},
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            "published": [row.to_dict() for row in self.published],
            "manifest": dict(self.manifest),
            "num_resumed": self.num_resumed,
            "seconds": self.seconds,
            "timing": dict(self.timing),
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """Build a table for a terminal: ``rich.print(report.table())``."""
        from rich.table import Table

        table = Table(title=f"{self.model.get('model', 'model')} on {self.task.get('name', 'task')}")
        for heading in ("question type", "accuracy", "95% interval", "chance", "right", "items"):
            table.add_column(heading, justify="left" if heading == "question type" else "right")
        for accuracy in self.question_types:
            table.add_row(*_cells(accuracy))
        table.add_section()
        table.add_row(*_cells(self.overall))
        return table


def _cells(accuracy: Accuracy) -> list[str]:
    chance = "-" if accuracy.chance is None else f"{accuracy.chance:.1%}"
    interval = f"{accuracy.low:.1%} to {accuracy.high:.1%}"
    counts = [str(accuracy.num_correct), str(accuracy.num_items)]
    return [accuracy.question_type, f"{accuracy.accuracy:.1%}", interval, chance, *counts]


def _choices(predictions: Sequence[Prediction]) -> dict[str, dict[str, int]]:
    asked = [prediction for prediction in predictions if prediction.options]
    positions = [chosen_option(prediction.output, prediction.options) for prediction in asked]
    chosen = Counter("none" if position is None else _letter(position) for position in positions)
    right = Counter(_letter(prediction.options.index(prediction.answer)) for prediction in asked)
    return {name: {"chosen": chosen[name], "right": right[name]} for name in sorted({*chosen, *right})}


def _letter(position: int) -> str:
    return chr(ord("A") + position) if position < 26 else str(position + 1)
