"""Compare two evaluation runs item by item, with paired confidence intervals and tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidweave.errors import PredictionError
from vidweave.evaluation.metrics import facet_names, group
from vidweave.evaluation.predictions import Prediction, read_predictions
from vidweave.evaluation.significance import holm_adjusted
from vidweave.evaluation.statistics import paired_bootstrap

__all__ = ["Comparison", "Difference", "compare", "compare_files", "compare_many", "mcnemar"]

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of the accuracies of A and B on the same items.

    Attributes:
        name: Name of the group of items.
        num_items: Number of items that both answered.
        first, second: Accuracies.
        difference, low, high: First minus second, with the 95% interval of a paired bootstrap.
        only_first, only_second: Number of items that only one of them answered correctly.
        p_value: P-value of McNemar's exact test that both are equally accurate.
        p_holm: The same, adjusted by Holm's method for all tests that are reported together; 1 before it is adjusted.
    """

    name: str
    num_items: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float
    p_holm: float = 1.0

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of A and B: overall, by question type and by facet.

    Attributes:
        first, second: Manifests of the prediction files.
        overall: Difference over all items that both answered.
        question_types: Differences by question type.
        facets: Differences by facet.
        missing_in_first, missing_in_second: Number of items that only the other file has; excluded.
        num_tests: Number of tests that `p_holm` is adjusted for.
    """

    first: Mapping[str, Any]
    second: Mapping[str, Any]
    overall: Difference
    question_types: tuple[Difference, ...]
    facets: Mapping[str, tuple[Difference, ...]]
    missing_in_first: int
    missing_in_second: int
    num_tests: int = 0

    @property
    def groups(self) -> dict[str, tuple[Difference, ...]]:
        """The differences that are reported, by breakdown: "" is overall. Breakdowns that say nothing new are left out."""
        facets = {title: rows for title, rows in self.facets.items() if len(rows) > 1}
        names = [{(row.name, row.num_items) for row in rows} for rows in facets.values()]
        types = {(row.name, row.num_items) for row in self.question_types}
        is_new = len(types) > 1 and not any(types <= group for group in names)
        return {"": (self.overall,), **({"question type": self.question_types} if is_new else {}), **facets}

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def compare_files(first: Path | str, second: Path | str) -> Comparison:
    """Compare two prediction files.

    Raises:
        PredictionError: A file cannot be read, there is no common item, or an item differs between the files.
    """
    return compare_many(first, [second])[0]


def compare_many(first: Path | str, others: Sequence[Path | str]) -> tuple[Comparison, ...]:
    """Compare a prediction file with each of several others; p-values are adjusted for the tests of all comparisons.

    Raises:
        PredictionError: As `compare_files`.
    """
    manifest, ours = read_predictions(first)
    compared = []
    for path in others:
        their_manifest, theirs = read_predictions(path)
        compared.append(_compare(ours, theirs, first=manifest, second=their_manifest))
    return _adjusted(compared)


def compare(
    ours: Sequence[Prediction],
    theirs: Sequence[Prediction],
    *,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare predictions of two runs, paired by id; `first` and `second` are their manifests."""
    return _adjusted([_compare(ours, theirs, first=first or {}, second=second or {})])[0]


def _compare(
    ours: Sequence[Prediction],
    theirs: Sequence[Prediction],
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
) -> Comparison:
    other = {prediction.id: prediction for prediction in theirs}
    pairs = [(prediction, other[prediction.id]) for prediction in ours if prediction.id in other]
    if not pairs:
        raise PredictionError("the two runs have no item in common; compare runs of one task")
    for a, b in pairs:
        if (a.question, a.answer) != (b.question, b.answer):
            raise PredictionError(
                f"item {a.id!r} is not the same in both: {a.question!r} ({a.answer!r}) and {b.question!r} ({b.answer!r})"
            )
    right = {b.id: b.correct for _, b in pairs}
    common = [a for a, _ in pairs]
    return Comparison(
        first=first,
        second=second,
        overall=_difference("all", common, right),
        question_types=_by_group(common, right),
        facets={facet: _by_group(common, right, (facet,)) for facet in facet_names(common)},
        missing_in_first=len(theirs) - len(pairs),
        missing_in_second=len(ours) - len(pairs),
    )


def _adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Adjust the p-values of all reported tests together.

    Groups that are not reported have the items of one that is, and so its p-values: equal p-values are adjusted equally.
    """
    tests = [row.p_value for c in comparisons for rows in c.groups.values() for row in rows]
    adjusted = dict(zip(tests, holm_adjusted(tests), strict=True))

    def with_holm(rows: Sequence[Difference]) -> tuple[Difference, ...]:
        return tuple(replace(row, p_holm=adjusted.get(row.p_value, row.p_value)) for row in rows)

    return tuple(
        replace(
            comparison,
            overall=with_holm([comparison.overall])[0],
            question_types=with_holm(comparison.question_types),
            facets={title: with_holm(rows) for title, rows in comparison.facets.items()},
            num_tests=len(tests),
        )
        for comparison in comparisons
    )


def _by_group(
    ours: Sequence[Prediction], right: Mapping[str, bool], facets: Sequence[str] = ()
) -> tuple[Difference, ...]:
    return tuple(_difference(name, members, right) for name, members in group(ours, facets).items())


def _difference(name: str, ours: Sequence[Prediction], right: Mapping[str, bool]) -> Difference:
    """Compute the difference; `right` maps ids to whether the second model is correct."""
    first = [float(prediction.correct) for prediction in ours]
    second = [float(right[prediction.id]) for prediction in ours]
    interval = paired_bootstrap(first, second, CONFIDENCE)
    only_first = sum(a > b for a, b in zip(first, second, strict=True))
    only_second = sum(a < b for a, b in zip(first, second, strict=True))
    total = len(ours)
    return Difference(
        name=name,
        num_items=total,
        first=sum(first) / total,
        second=sum(second) / total,
        difference=(only_first - only_second) / total,
        low=interval.low,
        high=interval.high,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided exact p-value from the items that only one model answered correctly.

    Source: McNemar 1947, Psychometrika 12, 153-157, with the exact binomial distribution.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    # In logarithms: binomial coefficients overflow floats
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    top = max(logs)
    tail = top + math.log(sum(math.exp(log - top) for log in logs))
    return min(1.0, math.exp(tail + (1 - total) * math.log(2)))
