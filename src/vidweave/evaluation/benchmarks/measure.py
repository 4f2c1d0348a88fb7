"""Ask a model all questions of a data set and score the replies with the data set's own scorer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.engines import Engine
from vidweave.errors import ConfigError
from vidweave.evaluation.benchmarks.blind import blind_baselines
from vidweave.evaluation.benchmarks.captions import JAVA_METRICS, captions_with
from vidweave.evaluation.benchmarks.judging import judge_outcomes, judge_prompt_hash
from vidweave.evaluation.benchmarks.model_baselines import ModelBaselines, run_baselines
from vidweave.evaluation.benchmarks.outcome import Outcome, chosen_position, join_outcomes
from vidweave.evaluation.benchmarks.result import BenchmarkResult, Counts
from vidweave.evaluation.benchmarks.scoring import Score, Scorer, is_strictly_right
from vidweave.evaluation.benchmarks.submission import write_submission
from vidweave.evaluation.benchmarks.wording import Wording
from vidweave.evaluation.grounding import is_grounded, target_spans
from vidweave.evaluation.parts import in_shard
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.report import Report
from vidweave.evaluation.runner import Collected, Judge, collect, gives_the_answer
from vidweave.evaluation.scorers.table import Tally
from vidweave.evaluation.statistics import clustered_bootstrap
from vidweave.evaluation.tasks.dataset import DatasetTask
from vidweave.registration import import_object
from vidweave.registry import DATASETS
from vidweave.types import Answerer

__all__ = ["Measurement", "measure", "scorer_of"]

CONFIDENCE = 0.95
BY_KIND = {
    "choice": "vidweave.evaluation.benchmarks.scoring:choices",
    "open": "vidweave.evaluation.benchmarks.scoring:open_answers",
    "caption": "vidweave.evaluation.benchmarks.captions:captions",
    "class": "vidweave.evaluation.benchmarks.scoring:open_answers",
    "grounding": "vidweave.evaluation.benchmarks.grounding:grounding",
}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Settings for measuring a model on a data set.

    Attributes:
        wording: Prompt of the questions, and the parser of generated choices.
        judge: Judges open answers in addition to exact match; None does not judge.
        metrics: Additional caption metrics that need Java: `meteor`, `spice`.
        submission: File for the replies to questions without public answers; None writes none.
        baselines: Also run the model on parts of the input (`evaluation.ablations`).
        batch_size, limit, decoding, shard, workers: See `evaluation.runner.collect`.
    """

    wording: Wording = field(default_factory=Wording)
    judge: Engine | None = None
    metrics: Sequence[str] = ()
    submission: Path | None = None
    baselines: bool = False
    batch_size: int = 16
    limit: int | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    workers: int = 1


def scorer_of(name: str, examples: Sequence[Example] = ()) -> Scorer:
    """Return the scorer of a data set: its own, or that of its kind of answers (inferred from examples if unset)."""
    if examples and all(target_spans(example) for example in examples):
        return import_object(BY_KIND["grounding"])
    facts = DATASETS.entry(name).facts if name in DATASETS else None
    if facts is not None and facts.scorer:
        return import_object(facts.scorer)
    labeled = [example for example in examples if example.is_labeled]
    kind = "open" if facts is None else facts.kind
    if labeled and all(example.query.options for example in labeled):
        kind = "choice"
    return import_object(BY_KIND[kind])


def measure(
    answerer: Answerer, task: DatasetTask, predictions_path: Path | str, measurement: Measurement
) -> BenchmarkResult:
    """Ask all questions, store the predictions and score them; questions already in `predictions_path` are skipped.

    Raises:
        ConfigError: caption metrics for a data set without captions, or baselines for captions.
        EngineError: the judge cannot be reached; replies and finished judgments are kept.
    """
    examples = _asked_for(task, measurement)
    kind = DATASETS.entry(task.name).facts.kind if task.name in DATASETS else "open"
    if any(target_spans(example) for example in examples):
        kind = "grounding"
    if measurement.metrics and kind != "caption":
        raise ConfigError(f"{', '.join(measurement.metrics)} are metrics of captions; {task.name} has none")
    if measurement.baselines and kind == "caption":
        raise ConfigError(f"--baselines compares right answers; {task.name} has captions, which are scored as a set")
    options: dict[str, Any] = {
        "batch_size": measurement.batch_size,
        "limit": measurement.limit,
        "judge": _judged_by(measurement.wording),
        "wording": measurement.wording,
        "shard": measurement.shard,
        "workers": measurement.workers,
    }
    result = collect(answerer, task, predictions_path, decoding=measurement.decoding, **options)
    measured = None
    if measurement.baselines:
        path = Path(predictions_path)
        measured = run_baselines(answerer, task, path, examples, decoding=measurement.decoding, **options)
    outcomes = join_outcomes(examples, result.predictions, measurement.wording.parser or "vidweave")
    return BenchmarkResult(
        report=_report(result, outcomes, examples, measurement, measured),
        scores=tuple(_scores(task.name, kind, outcomes, measurement)),
        counts=_counts(examples, result.predictions),
        all_questions=_tally(outcomes),
        clustered=_clustered(outcomes),
        remainder=None if measured is None else measured.remainder(_labeled(result, outcomes)),
        written=_written(task.name, examples, result.predictions, measurement, measured),
        notes=(*_split_notes(task), *task.notes(), *result.notes, *(() if measured is None else measured.notes)),
    )


def _split_notes(task: DatasetTask) -> list[str]:
    """A note if the annotation file is named like another split than the one that published numbers are about."""
    facts = DATASETS.entry(task.name).facts if task.name in DATASETS else None
    data = task.settings.get("data")
    if facts is None or not facts.split or not isinstance(data, (str, Path)):
        return []
    expected = _SPLITS.get(facts.split.split()[0])
    result = [_SPLITS[word] for word in re.split(r"[^a-z]+", Path(data).stem.lower()) if word in _SPLITS]
    if not result or expected is None or expected in result:
        return []
    return [f"{Path(data).name} is named like the split {result[-1]}; published numbers are about {facts.split}"]


_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)


def _asked_for(task: DatasetTask, measurement: Measurement) -> list[Example]:
    """Return the examples of a run, including those with missing media; with a shard or a limit, only those asked."""
    examples = list(task.annotations())
    if measurement.limit is None and measurement.shard is None:
        return examples
    ids = list(task.ids())[: measurement.limit]
    asked = {ids[i] for i in in_shard(list(task.recordings())[: len(ids)], measurement.shard)}
    return [example for example in examples if example.id in asked]


def _judged_by(wording: Wording) -> Judge:
    def is_right(example: Example, output: str) -> bool:
        if target_spans(example):
            return is_grounded(example, output)
        if example.query.options and wording.parser:
            return chosen_position(example, output, parser=wording.parser) == example.position
        return gives_the_answer(example, output)

    return is_right


def _labeled(result: Collected, outcomes: Sequence[Outcome]) -> tuple[Prediction, ...]:
    labeled = {o.example.id for o in outcomes}
    return tuple(prediction for prediction in result.predictions if prediction.id in labeled)


def _report(
    result: Collected,
    outcomes: Sequence[Outcome],
    examples: Sequence[Example],
    measurement: Measurement,
    measured: ModelBaselines | None,
) -> Report | None:
    predictions = _labeled(result, outcomes)
    if not predictions:
        return None
    blind = [] if any(target_spans(e) for e in examples) else examples  # no two spans are equal
    baselines = blind_baselines([e for e in blind if e.id in {prediction.id for prediction in predictions}])
    if measured is not None:
        baselines |= {name: dict(scores) for name, scores in measured.scores.items()}
    manifest = result.manifest
    if measurement.judge is not None:
        manifest = {**manifest, "judge": {**measurement.judge.describe(), "prompt": judge_prompt_hash()}}
    return replace(result, predictions=predictions, manifest=manifest).report(baselines=baselines)


def _scores(name: str, kind: str, outcomes: Sequence[Outcome], measurement: Measurement) -> list[Score]:
    if not outcomes:
        return []
    scores = list(scorer_of(name, [o.example for o in outcomes])(outcomes))
    if java := [metric for metric in measurement.metrics if metric in JAVA_METRICS]:
        scores += captions_with(outcomes, java)
    if measurement.judge is not None and kind != "grounding" and not all(o.example.query.options for o in outcomes):
        scores += judge_outcomes(measurement.judge, outcomes)
    return scores


def _counts(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Counts:
    answered = {prediction.id for prediction in predictions}
    return Counts(
        total=len(examples),
        answered=len(answered),
        missing_media=sum(example.id not in answered for example in examples),
        unlabeled=sum(not example.is_labeled for example in examples),
        videos=len({example.media or example.id for example in examples if example.is_labeled}),
    )


def _tally(outcomes: Sequence[Outcome]) -> Tally:
    return Tally(num_correct=sum(map(is_strictly_right, outcomes)), num_items=len(outcomes))


def _clustered(outcomes: Sequence[Outcome]):
    answered = [o for o in outcomes if o.reply is not None]
    if not answered:
        return None
    marks = [float(is_strictly_right(o)) for o in answered]
    return clustered_bootstrap(marks, [o.example.media or o.example.id for o in answered], CONFIDENCE)


def _written(
    name: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    measurement: Measurement,
    measured: ModelBaselines | None,
) -> tuple[tuple[str, str], ...]:
    files = () if measured is None else tuple((f"baseline {n}", str(path)) for n, path in measured.files.items())
    if measurement.submission is None:
        return files
    parser = measurement.wording.parser or "vidweave"
    return (*write_submission(name, measurement.submission, examples, predictions, parser).items(), *files)
