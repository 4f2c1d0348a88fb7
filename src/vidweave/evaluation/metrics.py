"""Right or wrong, and accuracies per family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vidweave.evaluation.records import Record
from vidweave.evaluation.statistics import wilson

__all__ = ["Accuracy", "accuracies", "is_correct"]

CONFIDENCE = 0.95


def is_correct(output: str, truth: str) -> bool:
    """Whether `output` says the truth: equal apart from case, outer space and a final full stop."""
    return _normal(output) == _normal(truth)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of right answers of a family, with its 95% Wilson interval.

    Attributes:
        chance: Expected share of even guessing among the options; None if some item has none.
    """

    family: str
    num_correct: int
    num_items: int
    accuracy: float
    low: float
    high: float
    chance: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def accuracies(records: Iterable[Record]) -> list[Accuracy]:
    """One per family, in order of first appearance."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.family, []).append(record)
    return [accuracy_of(family, members) for family, members in families.items()]


def accuracy_of(family: str, records: list[Record]) -> Accuracy:
    """The accuracy over `records` (at least one)."""
    num_correct = sum(record.correct for record in records)
    interval = wilson(num_correct, len(records), CONFIDENCE)
    has_options = all(record.options for record in records)
    return Accuracy(
        family=family,
        num_correct=num_correct,
        num_items=len(records),
        accuracy=num_correct / len(records),
        low=interval.low,
        high=interval.high,
        chance=sum(1 / len(record.options) for record in records) / len(records) if has_options else None,
    )
