"""Correctness of answers, and accuracies per question type, facet and combination of facets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from vidweave.evaluation.predictions import Prediction
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


def is_correct(output: str, answer: str) -> bool:
    """Whether `output` equals the label, ignoring case, surrounding whitespace and a final period."""
    return normalize_answer(output) == normalize_answer(answer)


def normalize_answer(text: str) -> str:
    """Fold case, collapse whitespace, and strip surrounding whitespace and a final period."""
    return " ".join(text.casefold().split()).removesuffix(".")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy of a group of items, with its 95% Wilson interval.

    Attributes:
        question_type: Name of the group: a question type, or values of facets.
        chance: Expected accuracy of uniform guessing among the options; None if an item has no options.
    """

    question_type: str
    num_correct: int
    num_items: int
    accuracy: float
    low: float
    high: float
    chance: float | None

    @classmethod
    def of(cls, question_type: str, right: Sequence[bool], chance: float | None = None) -> Self:
        """Compute the accuracy of at least one item that is right or wrong."""
        interval = wilson(sum(right), len(right), CONFIDENCE)
        return cls(
            question_type=question_type,
            num_correct=sum(right),
            num_items=len(right),
            accuracy=sum(right) / len(right),
            low=interval.low,
            high=interval.high,
            chance=chance,
        )

    @classmethod
    def of_shares(cls, question_type: str, shares: Sequence[float]) -> Self:
        """Compute the accuracy of at least one item with a score from 0 to 1; `num_correct` is the rounded sum.

        The interval is a bootstrap over items.
        """
        interval = paired_bootstrap(shares, 0.0, CONFIDENCE)
        return cls(
            question_type=question_type,
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


def accuracies(predictions: Iterable[Prediction], facets: Sequence[str] = ()) -> list[Accuracy]:
    """Compute accuracies per question type, in order of first appearance, or per combination of `facets`, sorted."""
    return [accuracy_of(name, members) for name, members in group(predictions, facets).items()]


def group(predictions: Iterable[Prediction], facets: Sequence[str] = ()) -> dict[str, list[Prediction]]:
    """Group predictions by question type, or by values of `facets` (joined by a comma); others are skipped."""
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if not facets:
            groups.setdefault(prediction.question_type, []).append(prediction)
        elif all(facet in prediction.facets for facet in facets):
            groups.setdefault(", ".join(prediction.facets[facet] for facet in facets), []).append(prediction)
    return dict(sorted(groups.items())) if facets else groups


def facet_names(predictions: Iterable[Prediction]) -> list[str]:
    """List the facets of all predictions, in order of first appearance."""
    return list(dict.fromkeys(name for prediction in predictions for name in prediction.facets))


def accuracy_of(question_type: str, predictions: Sequence[Prediction]) -> Accuracy:
    """Compute the accuracy over `predictions` (at least one)."""
    has_options = all(prediction.options for prediction in predictions)
    chance = sum(1 / len(prediction.options) for prediction in predictions) / len(predictions) if has_options else None
    return Accuracy.of(question_type, [prediction.correct for prediction in predictions], chance)


def signal_to_noise(measured: float, without: float, foreign: float) -> float | None:
    """Compute the gain over the controls: (measured - mean of both controls) / that mean (MSNR).

    Args:
        without, foreign: Scores of the same model without media, and with media of other items.

    Returns:
        None if both controls score zero, since the ratio is undefined.
    """
    noise = (without + foreign) / 2
    return (measured - noise) / noise if noise else None
