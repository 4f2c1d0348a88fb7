"""Run a model on a task: every question is answered once, even if the run is interrupted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vidweave.data.schema import Example
from vidweave.errors import ConfigError, NonFiniteError, PredictionError
from vidweave.evaluation.batches import BatchRunner
from vidweave.evaluation.benchmarks.wording import Wording
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.parts import batches_by_recording, in_shard, recordings_of
from vidweave.evaluation.predictions import Prediction, PredictionFile
from vidweave.evaluation.report import Report
from vidweave.evaluation.shown_media import MediaHashes, changed
from vidweave.evaluation.timing import TimeSplit
from vidweave.types import Answer, Answerer, Query

__all__ = [
    "Ablation",
    "Collected",
    "HasSizes",
    "Judge",
    "Task",
    "ask",
    "collect",
    "progress_bar",
    "accuracy_by_type",
    "run",
    "gives_the_answer",
]

LINE_SECONDS = 10.0

Judge = Callable[[Example, str], bool]
"""Whether an output answers an example correctly."""


# A reworded question has no label: its prompt may contain the options as text
_UNLABELED: dict[str, Any] = {"answer": "", "answers": (), "answer_index": None, "is_labeled": False}


class Task(Protocol):
    """A source of examples that lists all ids without building the examples."""

    def ids(self) -> Sequence[str]:
        """Ids of all examples, in order; the same in every run."""
        ...

    def example(self, index: int) -> Example:
        """The example at that position of `ids`; may be expensive (frames are rendered or opened here)."""
        ...

    def describe(self) -> dict[str, Any]:
        """`name` and all settings that determine the examples, as JSON data."""
        ...


@runtime_checkable
class HasSizes(Protocol):
    """A task that knows the length of every question without building its example."""

    def sizes(self) -> Sequence[int]:
        """Length of each question in characters, in the order of `ids`."""
        ...


class Ablation(Protocol):
    """A part of the input that is removed from every question; see `evaluation.ablations`."""

    @property
    def name(self) -> str:
        """Name, e.g. `one middle frame`."""
        ...

    def apply(self, query: Query) -> Query:
        """The question without that part."""
        ...


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Predictions of all requested examples, and information about the run.

    Attributes:
        predictions: Predictions in the order of the task.
        manifest: Manifest of the prediction file: task, model, decoding.
        num_resumed: Number of predictions of earlier runs.
        seconds: Wall time.
        timing: How it splits, see `evaluation.timing`.
        notes: Reductions of the batch size.
    """

    predictions: tuple[Prediction, ...]
    manifest: Mapping[str, Any]
    num_resumed: int
    seconds: float
    timing: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def report(self, **more_arguments: Any) -> Report:
        """Build the report of the predictions; `more_arguments` are passed to `Report.of`."""
        facts = {"num_resumed": self.num_resumed, "seconds": self.seconds, "timing": self.timing, "notes": self.notes}
        known = {name: self.manifest[name] for name in ("task", "model", "decoding") if name in self.manifest}
        more = {name: value for name, value in self.manifest.items() if name not in known}
        return Report.of(self.predictions, **known, more=more, **facts, **more_arguments)


def run(answerer: Answerer, task: Task, predictions_path: Path | str, **options: Any) -> Report:
    """Evaluate a model on a task and return the report; takes the arguments of `collect`."""
    return collect(answerer, task, predictions_path, **options).report()


def collect(
    answerer: Answerer,
    task: Task,
    predictions_path: Path | str,
    *,
    batch_size: int = 16,
    limit: int | None = None,
    progress: bool = True,
    decoding: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
    wording: Wording | None = None,
    shard: tuple[int, int] | None = None,
    ablation: Ablation | None = None,
    workers: int = 1,
) -> Collected:
    """Answer a task's questions and record each answer; questions already in `predictions_path` are skipped.

    Args:
        answerer: Any model that answers queries.
        task: The questions.
        predictions_path: JSON-lines file, see `vidweave.evaluation.predictions`.
        batch_size: Queries per call; may differ between runs on one file, as may `limit`.
        limit: Use only the first `limit` examples.
        progress: Show progress on stderr.
        decoding: Arguments passed to the model with every batch; part of the manifest.
        judge: Decides which outputs are correct (default `gives_the_answer`); its decision is recorded.
        wording: Prompt template of the questions; part of the manifest.
        shard: (i, n) uses only the i-th of n parts (i from 0); all questions about a recording are in the same part. It is
            not part of the manifest, so that the files of all parts can be merged.
        ablation: Removes a part of the input of every question; its name is part of the manifest.
        workers: Batches in flight: with 2, media of the next batch are decoded while the model computes. The model must
            allow calls from several threads, as pipelines do.

    A batch that does not fit into memory is halved and asked again, and `Collected.notes` says so. Questions about one recording share a batch where possible, so that its media are decoded once. Predictions are returned
    in the order of the task.

    Raises:
        ConfigError: The batch size or limit is below 1, or the task has no examples.
        PredictionError: The file belongs to another run (another model, setting or question, or changed media), or cannot be
            written.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    start = time.perf_counter()
    split = TimeSplit()
    decoding = dict(decoding or {})
    ids = list(task.ids())[:limit]
    if not ids:
        raise ConfigError("the task has no examples")
    recordings = recordings_of(task, len(ids))
    part = in_shard(recordings, shard)
    sizes = None
    if isinstance(task, HasSizes):
        of_all = task.sizes()
        sizes = [of_all[i] for i in part]
    ids = [ids[i] for i in part]
    recordings = [recordings[i] for i in part]
    manifest: dict[str, Any] = {"task": task.describe(), "model": answerer.describe(), "decoding": decoding}
    if wording is not None and (described := wording.describe()):
        manifest["wording"] = described
    if ablation is not None:
        manifest["ablation"] = ablation.name
    asking = _Asking(
        answerer=answerer,
        decoding=decoding,
        judge=judge or gives_the_answer,
        wording=wording,
        ablation=ablation,
        split=split,
    )
    batches = BatchRunner(lambda batch: asking.predictions([part[i] for i in batch], task), workers=workers)
    with PredictionFile(predictions_path, manifest) as file:
        todo = [i for i, name in enumerate(ids) if name not in file.predictions]
        known = {part[i]: file.predictions[name] for i, name in enumerate(ids) if name in file.predictions}
        with split.part("hash"):
            _check_shown(task, known, asking.hashes, file)
        what = "answering" if ablation is None else f"answering ({ablation.name})"
        with progress_bar(what, len(ids), done=len(ids) - len(todo), show=progress) as advance:
            for predictions in batches.run(batches_by_recording(todo, recordings, batch_size, sizes)):
                with split.part("bookkeeping"):
                    file.add(predictions)
                advance(len(predictions))
        predictions = [file.predictions[name] for name in ids]
    return Collected(
        predictions=tuple(predictions),
        manifest=manifest,
        num_resumed=len(ids) - len(todo),
        seconds=time.perf_counter() - start,
        timing=split.to_dict(len(todo)),
        notes=tuple(batches.notes),
    )


def gives_the_answer(example: Example, output: str) -> bool:
    """Whether the output equals one of the accepted answers."""
    return any(is_correct(output, answer) for answer in example.accepted)


def _check_shown(task: Task, recorded: Mapping[int, Prediction], hashes: MediaHashes, file: PredictionFile) -> None:
    """Refuse to resume if a recorded question, its options or its media files have changed."""
    differences = []
    for index, prediction in recorded.items():
        if prediction.media:  # examples with files open none; others may be expensive, and their task describes them
            example = task.example(index)
            asked = {"question": example.query.text, "options": tuple(example.query.options), "answer": example.answer}
            names = [name for name, value in asked.items() if value != getattr(prediction, name)]
            names += changed(prediction.media, hashes.of(example))
            differences += [f"{prediction.id}: {', '.join(names)}"] if names else []
    if differences:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise PredictionError(
            f"{file.path} belongs to another run: questions or media have changed ({shown}); "
            "restore the old files, use another prediction file, or delete it to start over"
        )


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """Asks one batch of a run; threads may share one."""

    answerer: Answerer
    decoding: Mapping[str, Any]
    judge: Judge
    wording: Wording | None
    ablation: Ablation | None
    split: TimeSplit
    hashes: MediaHashes = field(default_factory=MediaHashes)

    def predictions(self, batch: Sequence[int], task: Task) -> list[Prediction]:
        """Ask the questions at these positions of the task."""
        with self.split.part("examples"):
            examples = [task.example(i) for i in batch]
            asked = [self._asked(example) for example in examples]
        with self.split.part("hash"):
            media = [self.hashes.of(example) for example in examples]
        start = time.perf_counter()
        answers = ask(self.answerer, asked, self.decoding)
        self.split.add_answers(answers, time.perf_counter() - start)
        with self.split.part("bookkeeping"):
            return [
                Prediction.of(e, a, correct=e.is_labeled and self.judge(e, a.text), media=hashes)
                for e, a, hashes in zip(examples, answers, media, strict=True)
            ]

    def _asked(self, example: Example) -> Example:
        if self.wording is None and self.ablation is None:
            return example
        query = example.query if self.ablation is None else self.ablation.apply(example.query)
        query = query if self.wording is None else self.wording.put(query)
        return replace(example, query=query, **_UNLABELED)


def ask(answerer: Answerer, examples: Sequence[Example], decoding: Mapping[str, Any] | None = None) -> list[Answer]:
    """Answer one batch of questions; the model must return one answer per question.

    Raises:
        NonFiniteError: The model's outputs are NaN or infinite; names the examples, which all count as unanswered.
    """
    try:
        answers = answerer.answer([example.query for example in examples], **(decoding or {}))
    except NonFiniteError as error:
        names = examples[0].id + (f" … {examples[-1].id}" if len(examples) > 1 else "")
        raise NonFiniteError(f"{error} (example {names})") from error
    assert len(answers) == len(examples), f"{len(examples)} queries got {len(answers)} answers"
    return answers


def accuracy_by_type(answerer: Answerer, examples: Sequence[Example], *, batch_size: int = 64) -> dict[str, float]:
    """Compute the exact-match accuracy per question type, in the order of the examples; nothing is recorded."""
    right: dict[str, list[bool]] = {}
    for start in range(0, len(examples), batch_size):
        batch = [examples[i] for i in range(start, min(start + batch_size, len(examples)))]
        for example, answer in zip(batch, ask(answerer, batch, {"trace": False}), strict=True):
            right.setdefault(example.question_type, []).append(answer.text == example.answer)
    return {name: sum(marks) / len(marks) for name, marks in right.items()}


@contextmanager
def progress_bar(what: str, total: int, *, done: int = 0, show: bool = True) -> Iterator[Any]:
    """Show a bar on stderr, or a line every LINE_SECONDS if stderr is not a terminal; yields the advance function."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    is_seen = show and (console.is_terminal or console.is_jupyter)  # logs would get an empty line per bar
    lines = _Lines(what, total, done) if show and not is_seen else None
    with Progress(*columns, console=console, disable=not is_seen, transient=True) as bar:
        row = bar.add_task(what, total=total, completed=done)
        yield lines or (lambda count: bar.advance(row, count))


class _Lines:
    """Progress lines on stderr for logs and pipes."""

    def __init__(self, what: str, total: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.done, self.clock = what, total, done, clock
        self.last = clock()

    def __call__(self, count: int) -> None:
        self.done += count
        if self.clock() - self.last >= LINE_SECONDS:
            self.last = self.clock()
            of = f" of {self.total}" if self.total else ""
            print(f"{self.what}: {self.done}{of}", file=sys.stderr, flush=True)
