"""Correctness of answers, and accuracies per question type, facet and combination of facets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from vidweave.evaluation.records import Record
from vidweave.evaluation.statistics import paired_bootstrap, wilson

__all__ = [
    "Accuracy",
    "accuracies",
    "accuracy_of",
    "facet_names",
    "group",
    "is_correct",
    "normalize_answer",
    "signal_to_noise",
]

CONFIDENCE = 0.95


def is_correct(output: str, truth: str) -> bool:
    """Whether `output` equals the label, ignoring case, surrounding whitespace and a final period."""
    return normalize_answer(output) == normalize_answer(truth)


def normalize_answer(text: str) -> str:
    """Fold case, collapse whitespace, and strip surrounding whitespace and a final period."""
    return " ".join(text.casefold().split()).removesuffix(".")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy of a group of items, with its 95% Wilson interval.

    Attributes:
        family: Name of the group: a question type, or values of facets.
        chance: Expected accuracy of uniform guessing among the options; None if an item has no options.
    """

    family: str
    num_correct: int
    num_items: int
    accuracy: float
    low: float
    high: float
    chance: float | None

    @classmethod
    def of(cls, family: str, right: Sequence[bool], chance: float | None = None) -> Self:
        """Compute the accuracy of at least one item that is right or wrong."""
        interval = wilson(sum(right), len(right), CONFIDENCE)
        return cls(
            family=family,
            num_correct=sum(right),
            num_items=len(right),
            accuracy=sum(right) / len(right),
            low=interval.low,
            high=interval.high,
            chance=chance,
        )

    @classmethod
    def of_shares(cls, family: str, shares: Sequence[float]) -> Self:
        """Compute the accuracy of at least one item with a score from 0 to 1; `num_correct` is the rounded sum.

        The interval is a bootstrap over items.
        """
        interval = paired_bootstrap(shares, 0.0, CONFIDENCE)
        return cls(
            family=family,
            num_correct=round(sum(shares)),
            num_items=len(shares),
            accuracy=sum(shares) / len(shares),
            low=interval.low,
            high=interval.high,
            chance=None,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def accuracies(records: Iterable[Record], facets: Sequence[str] = ()) -> list[Accuracy]:
    """Compute accuracies per question type, in order of first appearance, or per combination of `facets`, sorted."""
    return [accuracy_of(name, members) for name, members in group(records, facets).items()]


def group(records: Iterable[Record], facets: Sequence[str] = ()) -> dict[str, list[Record]]:
    """Group records by question type, or by values of `facets` (joined by a comma); others are skipped."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if not facets:
            groups.setdefault(record.family, []).append(record)
        elif all(facet in record.facets for facet in facets):
            groups.setdefault(", ".join(record.facets[facet] for facet in facets), []).append(record)
    return dict(sorted(groups.items())) if facets else groups


def facet_names(records: Iterable[Record]) -> list[str]:
    """List the facets of all records, in order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record.facets))


def accuracy_of(family: str, records: Sequence[Record]) -> Accuracy:
    """Compute the accuracy over `records` (at least one)."""
    has_options = all(record.options for record in records)
    chance = sum(1 / len(record.options) for record in records) / len(records) if has_options else None
    return Accuracy.of(family, [record.correct for record in records], chance)


def signal_to_noise(measured: float, without: float, foreign: float) -> float | None:
    """Compute the gain over the controls: (measured - mean of both controls) / that mean (MSNR).

    Args:
        without, foreign: Scores of the same model without media, and with media of other items.

    Returns:
        None if both controls score zero, since the ratio is undefined.
    """
    noise = (without + foreign) / 2
    return (measured - noise) / noise if noise else None
