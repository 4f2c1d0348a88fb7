"""Result of a benchmark: all scores, both denominators, intervals, baselines and published numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vidweave.evaluation.benchmarks.scoring import Score
from vidweave.evaluation.report import Report
from vidweave.evaluation.scorers.table import ScoreTable, Tally
from vidweave.evaluation.statistics import Interval, wilson

__all__ = ["BenchmarkResult", "Counts"]

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of questions by outcome.

    Attributes:
        total: Questions in the annotation file (or in the requested part of it).
        answered: Questions with a reply.
        missing_media: Questions not asked because their media are missing.
        unlabeled: Questions without an answer, which are not scored.
        videos: Recordings of the scored questions.
    """

    total: int
    answered: int
    missing_media: int
    unlabeled: int
    videos: int

    def to_dict(self) -> dict[str, int]:
        """JSON data."""
        return {
            "total": self.total,
            "answered": self.answered,
            "missing_media": self.missing_media,
            "unlabeled": self.unlabeled,
            "videos": self.videos,
        }


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Result of a model on a data set.

    Attributes:
        report: Strict accuracy over the answered questions, baselines, published numbers, manifest; None if the data
            set has no answers.
        scores: Scores of the data set's scorer and of the judge.
        counts: Numbers of questions asked, answered and scored.
        all_questions: Strict accuracy over all labeled questions; those that could not be asked are wrong.
        clustered: 95% interval of the strict accuracy, resampling whole recordings.
        remainder: Accuracy over the questions that no baseline answers correctly; None without baselines.
        written: Written files: content → path.
        notes: Notes about excluded or changed questions.
    """

    report: Report | None
    scores: tuple[Score, ...]
    counts: Counts
    all_questions: Tally
    clustered: Interval | None
    remainder: Tally | None = None
    written: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data: those of the report, `scores`, `counts`, `all_questions` and `clustered_interval`."""
        beside = {
            "scores": [score.to_dict() for score in self.scores],
            "counts": self.counts.to_dict(),
            "all_questions": _tally(self.all_questions),
            "clustered_interval": None if self.clustered is None else [self.clustered.low, self.clustered.high],
            "remainder": None if self.remainder is None else _tally(self.remainder),
            "written": dict(self.written),
            "notes": list(self.notes),
        }
        return {**({} if self.report is None else self.report.to_dict()), **beside}

    def score_rows(self) -> Iterator[tuple[str, str, str, str, int | str]]:
        """Return table rows: scorer, group, value, 95% interval, items."""
        for score in self.scores:
            if isinstance(score, ScoreTable):
                yield from _table_rows(score)
            else:
                yield from ((score.scorer, name, f"{value:.4g}", "", "") for name, value in score.values.items())

    def defects(self) -> list[str]:
        """Describe the defects of each published score, and why a score has no value."""
        lines = [f"{score.scorer}: {defect}" for score in self.scores for defect in score.defects]
        empty = (score for score in self.scores if not isinstance(score, ScoreTable) and not score.values)
        return [*lines, *(f"{score.scorer} has no value: {score.note}" for score in empty)]


def _table_rows(table: ScoreTable) -> Iterator[tuple[str, str, str, str, int | str]]:
    for name, tally in (*table.groups.items(), ("all", table.overall)):
        if tally.num_items:
            yield (table.scorer, name, f"{tally.show()}%", _interval(tally), tally.num_items)
    if table.num_missing:
        tally = table.answered
        yield (table.scorer, "answered only", f"{tally.show()}%", _interval(tally), tally.num_items)


def _interval(tally: Tally) -> str:
    if tally.num_correct > tally.num_items:  # a defective denominator
        return ""
    result = wilson(tally.num_correct, tally.num_items, CONFIDENCE)
    return f"{result.low:.1%} to {result.high:.1%}"


def _tally(tally: Tally) -> dict[str, Any]:
    result = wilson(tally.num_correct, tally.num_items, CONFIDENCE)
    return {
        "num_correct": tally.num_correct,
        "num_items": tally.num_items,
        "accuracy": tally.fraction,
        "low": result.low,
        "high": result.high,
    }


def strict_tally(marks: Sequence[bool]) -> Tally:
    """Count the marks."""
    return Tally(num_correct=sum(marks), num_items=len(marks))
