"""Baselines that run the model on a part of the input, and the questions that none of them answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.evaluation.ablations import input_ablations
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.runner import collect
from vidweave.evaluation.scorers.table import Tally
from vidweave.evaluation.tasks.dataset import DatasetTask
from vidweave.types import Answerer

__all__ = ["ModelBaselines", "beside", "run_baselines"]


@dataclass(frozen=True, kw_only=True)
class ModelBaselines:
    """Results of the model on parts of the input.

    Attributes:
        scores: Baseline → example id → 1 where it is right.
        files: Baseline → its prediction file.
        notes: Baselines that do not apply, and reductions of the batch size.
    """

    scores: Mapping[str, Mapping[str, float]]
    files: Mapping[str, Path]
    notes: tuple[str, ...]

    def remainder(self, predictions: Sequence[Prediction]) -> Tally:
        """Count the predictions, right and all, for questions that no baseline answers correctly."""
        left = [p for p in predictions if not any(scores.get(p.id, 0.0) for scores in self.scores.values())]
        return Tally(num_correct=sum(p.correct for p in left), num_items=len(left))


def run_baselines(
    answerer: Answerer,
    task: DatasetTask,
    predictions_path: Path,
    examples: Sequence[Example],
    *,
    decoding: Mapping[str, Any],
    **options: Any,
) -> ModelBaselines:
    """Ask the questions again for each baseline; questions already in its prediction file are skipped.

    Args:
        predictions_path: Prediction file of the full run; those of the baselines are beside it.
        options: Further arguments of `evaluation.runner.collect`, as for the full run.
    """
    modalities = list(task.example(0).query.scenes[0].clip)
    ablations, notes = input_ablations(examples, modalities)
    scores, files = {}, {}
    for ablation in ablations:
        files[ablation.name] = beside(predictions_path, ablation.slug)
        kept = {name: value for name, value in decoding.items() if name not in ablation.ignores}
        result = collect(answerer, task, files[ablation.name], decoding=kept, ablation=ablation, **options)
        scores[ablation.name] = {prediction.id: float(prediction.correct) for prediction in result.predictions}
        notes += [f"{ablation.name}: {note}" for note in result.notes]
    return ModelBaselines(scores=scores, files=files, notes=tuple(notes))


def beside(path: Path, slug: str) -> Path:
    """Return the path of a further prediction file of a run: `r.jsonl` → `r.SLUG.jsonl`."""
    return path.with_name(f"{path.stem}.{slug}{path.suffix or '.jsonl'}")
