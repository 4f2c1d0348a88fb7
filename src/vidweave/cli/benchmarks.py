"""`vidweave evaluate` after the model is loaded: measure, write files, and print scores next to baselines and published numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.cli.accuracies import accuracy_table
from vidweave.cli.output import show, table
from vidweave.cli.predictions_file import predictions_path
from vidweave.cli.reports import write_report

if TYPE_CHECKING:
    from vidweave.engines import Engine
    from vidweave.evaluation.benchmarks.result import BenchmarkResult
    from vidweave.evaluation.benchmarks.wording import Wording
    from vidweave.evaluation.report import Report
    from vidweave.evaluation.runner import Task
    from vidweave.evaluation.tasks.dataset import DatasetTask
    from vidweave.types import Answerer

__all__ = ["RunOptions", "measure_and_show", "report_of", "run_and_show"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Command-line options of `vidweave evaluate`; tasks use those that are not about data sets."""

    wording: Wording
    judge: str | None
    judge_url: str | None
    judge_batch: bool
    metrics: Sequence[str]
    submission: str | None
    baselines: bool
    predictions: str | None
    batch_size: int
    limit: int | None
    shard: tuple[int, int] | None
    workers: int
    decoding: Mapping[str, Any]


def measure_and_show(
    answerer: Answerer, task: DatasetTask, options: RunOptions, *, report_file: Path | None, as_json: bool
) -> None:
    """Evaluate a data set; print and write the results."""
    with predictions_path(options.predictions) as path:
        result = _measured(answerer, task, options, path)
    data = {**result.to_dict(), "predictions": options.predictions}
    if result.report is not None:
        write_report(report_file, data)
    show(data, _text(result), as_json=as_json)


def _measured(answerer: Answerer, task: DatasetTask, options: RunOptions, path: Path) -> BenchmarkResult:
    """Evaluate a data set with the prediction file `path`."""
    from vidweave.evaluation.benchmarks.measure import Measurement, measure

    measurement = Measurement(
        wording=options.wording,
        judge=_judge(options, path),
        metrics=options.metrics,
        submission=_submission(options, task),
        baselines=options.baselines,
        batch_size=options.batch_size,
        limit=options.limit,
        decoding=options.decoding,
        shard=options.shard,
        workers=options.workers,
    )
    result = measure(answerer, task, path, measurement)
    if options.predictions is not None:
        return result
    return replace(result, written=tuple(row for row in result.written if not row[0].startswith("baseline ")))


def run_and_show(
    answerer: Answerer, task: Task, options: RunOptions, *, report_file: Path | None, as_json: bool
) -> None:
    """Evaluate a task that scores its own answers; print and write the results."""
    with predictions_path(options.predictions) as path:
        report = report_of(answerer, task, options, path)
    assert report is not None, "every question of a task has a label"
    notes = [*(task.notes() if hasattr(task, "notes") else []), *report.notes]  # type: ignore[attr-defined]
    data = {**report.to_dict(), "notes": notes, "predictions": options.predictions}
    write_report(report_file, data)
    show(data, "\n".join([accuracy_table(report), *_timing_lines(report.timing), *notes]), as_json=as_json)


def report_of(answerer: Answerer, task: Task, options: RunOptions, path: Path) -> Report | None:
    """Evaluate a task or data set with the prediction file `path`; None if no question has a label."""
    from vidweave.evaluation.runner import run
    from vidweave.evaluation.tasks.dataset import DatasetTask

    if isinstance(task, DatasetTask):
        return _measured(answerer, task, options, path).report
    return run(
        answerer,
        task,
        path,
        batch_size=options.batch_size,
        limit=options.limit,
        decoding=options.decoding,
        wording=options.wording,
        shard=options.shard,
        workers=options.workers,
    )


def _submission(options: RunOptions, task: DatasetTask) -> Path | None:
    """The given file; if no question has a label, a file beside the predictions or in the working directory.

    A part of a run writes none by itself.
    """
    if options.submission is not None:
        return Path(options.submission)
    if options.shard is not None or any(example.is_labeled for example in task.annotations()):
        return None
    if options.predictions is not None:
        return Path(options.predictions).with_suffix(".submission.jsonl")
    return Path(f"{task.name}.submission.jsonl")


def _judge(options: RunOptions, predictions: Path) -> Engine | None:
    """Build the judge engine; its replies are cached beside the predictions."""
    if options.judge is None:
        return None
    from vidweave.engines.cache import CachedEngine, ResponseCache, Usage

    cache = ResponseCache(predictions.with_suffix(".judge"))
    if options.judge_url is None:
        from vidweave.engines.local import TransformersEngine

        return CachedEngine(TransformersEngine(options.judge), cache, Usage())
    from vidweave.engines.openai import OpenAIEngine

    endpoint = OpenAIEngine(model=options.judge, base_url=options.judge_url)
    if not options.judge_batch:
        return CachedEngine(endpoint, cache, Usage())
    from vidweave.engines.batch import OpenAIBatchEngine

    state = predictions.with_suffix(".judge-batch.json")
    batch = OpenAIBatchEngine(engine=endpoint, state=state, progress=_BatchLines())
    return CachedEngine(batch, cache, Usage(), requests_per_call=sys.maxsize)


class _BatchLines:
    """Print the progress of batches on stderr whenever it changes."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        if done != self._last:
            print(
                f"judging in a batch: {done} of {total}; you may stop and run the same command later", file=sys.stderr
            )
        self._last = done


def _text(result: BenchmarkResult) -> str:
    parts = []
    if result.report is not None:
        parts.append(accuracy_table(result.report))
        parts.append(table(result.score_rows(), ("scorer", "group", "value", "95% interval", "items")))
        parts.append("\n".join(_context_lines(result, result.report)))
    lines = [*result.defects(), *result.notes, *(f"{what} written to {path}" for what, path in result.written)]
    parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def _context_lines(result: BenchmarkResult, report: Report) -> list[str]:
    """Format denominators, the interval by recording, blind baselines and published numbers as lines."""
    counts, share = result.counts, result.all_questions
    lines = [
        f"strict accuracy over all {share.num_items} questions with an answer: {share.show()}% "
        f"({counts.missing_media} skipped because media are missing); over {report.overall.num_items} asked: "
        f"{report.overall.accuracy:.2%}"
    ]
    if result.clustered is not None:
        low, high = result.clustered.low, result.clustered.high
        lines.append(f"95% interval by recording ({counts.videos} recordings): {low:.1%} to {high:.1%}")
    lines += [
        f"baseline, {rule.name}: {rule.overall:.1%} (model {rule.gain:+.1%}, 95% interval {rule.low:+.1%} to {rule.high:+.1%})"
        for rule in report.baselines
    ]
    if result.remainder is not None:
        left = result.remainder
        lines.append(
            f"over the {left.num_items} questions that no baseline of the model answers: {left.show()}%"
            if left.num_items
            else "every question is answered by a baseline of the model"
        )
    lines += _timing_lines(report.timing)
    for row in report.published:
        if row.overall is not None:
            lines.append(f"published, {row.name}: {row.overall:g} ({row.metric}; {row.source})")
    return lines


def _timing_lines(timing: Mapping[str, Any]) -> list[str]:
    """Format where the time of a run went; no line if nothing was asked."""
    seconds = {name: value for name, value in timing.get("seconds", {}).items() if value >= 0.005}
    if timing.get("bookkeeping_cpu_ms_per_question") is None or not seconds:
        return []
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    return [f"time: {parts}; bookkeeping {timing['bookkeeping_cpu_ms_per_question']:.2f} ms of CPU per question"]
