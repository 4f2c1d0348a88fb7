"""Accuracies of named groups of questions: the result of every benchmark's scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vidweave.errors import AnnotationError, PredictionError

__all__ = ["Response", "ScoreTable", "Tally", "require_predictions", "require_unique", "score", "tally_by"]

Answer = TypeVar("Answer", int, str)


@dataclass(frozen=True, kw_only=True)
class Response(Generic[Answer]):
    """Prediction for one question, with its answer.

    Attributes:
        id: Identifier, unique per file.
        question_type: Question type in the annotation file.
        answer: Position of the correct option, or the answer's text.
        prediction: Prediction in the same form; None if the model gave none.
    """

    id: str
    question_type: str
    answer: Answer
    prediction: Answer | None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Number of correct answers among a number of questions.

    The denominator is the number that the scorer divides by, which may be wrong in a defective scorer.
    """

    num_correct: int
    num_items: int

    @property
    def fraction(self) -> float | None:
        """Share of correct answers; None for a group without questions."""
        return self.num_correct / self.num_items if self.num_items else None

    @property
    def percent(self) -> float | None:
        """100 times the share; None for a group without questions."""
        return 100.0 * self.num_correct / self.num_items if self.num_items else None

    def show(self, *, decimals: int = 2, as_percent: bool = True) -> str:
        """Format the value like published scripts; "n/a" for a group without questions."""
        value = self.percent if as_percent else self.fraction
        return "n/a" if value is None else f"{value:.{decimals}f}"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Result of one scorer on one set of predictions.

    Attributes:
        scorer: Name of the rule, such as "activitynetqa-official" or "activitynetqa-strict".
        groups: Group of questions → its tally, in the order in which the published script prints them.
        overall: Tally of all questions that the scorer counts.
        answered: Tally of the questions with a prediction; equal to `overall` if all have one.
        defects: Faults of the published script that this result reproduces; empty for a strict scorer.
    """

    scorer: str
    groups: Mapping[str, Tally]
    overall: Tally
    answered: Tally
    defects: tuple[str, ...] = ()

    @property
    def num_missing(self) -> int:
        """Number of counted questions without a prediction."""
        return max(self.overall.num_items - self.answered.num_items, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data, including percentages."""
        tallies = {**self.groups, "overall": self.overall, "answered": self.answered}
        shown = {
            name: {"num_correct": tally.num_correct, "num_items": tally.num_items, "percent": tally.percent}
            for name, tally in tallies.items()
        }
        return {"scorer": self.scorer, "num_missing": self.num_missing, "defects": list(self.defects), **shown}


def tally_by(marks: Iterable[tuple[str, bool]], names: Sequence[str] = ()) -> dict[str, Tally]:
    """Count correct answers per group: the groups of `names` first, then others in order of first appearance."""
    counts: dict[str, list[int]] = {name: [0, 0] for name in names}
    for name, right in marks:
        count = counts.setdefault(name, [0, 0])
        count[0] += right
        count[1] += 1
    return {name: Tally(num_correct=right, num_items=total) for name, (right, total) in counts.items()}


def score(
    scorer: str,
    responses: Sequence[Response[Answer]],
    is_right: Callable[[Answer, Answer], bool],
    *,
    group: Callable[[str], str] = str,
    groups: Sequence[str] = (),
    defects: tuple[str, ...] = (),
) -> ScoreTable:
    """Score responses by group; a missing prediction is wrong.

    Args:
        is_right: Whether a prediction (first argument) matches the answer.
        group: Question type → name of its group.
        groups: Names to list first, even without questions.

    Raises:
        AnnotationError: two responses have the same id.
    """
    require_unique((response.id for response in responses), scorer)
    marks = [r.prediction is not None and is_right(r.prediction, r.answer) for r in responses]
    num_answered = sum(r.prediction is not None for r in responses)
    return ScoreTable(
        scorer=scorer,
        groups=tally_by(((group(r.question_type), mark) for r, mark in zip(responses, marks, strict=True)), groups),
        overall=Tally(num_correct=sum(marks), num_items=len(marks)),
        answered=Tally(num_correct=sum(marks), num_items=num_answered),
        defects=defects,
    )


def require_predictions(responses: Iterable[Response[Any]], scorer: str) -> None:
    """Reject predictions that do not cover every question, for which the published script raises a KeyError.

    Raises:
        PredictionError: names the first missing question and their number.
    """
    missing = [response.id for response in responses if response.prediction is None]
    if missing:
        raise PredictionError(
            f"{scorer} needs a prediction for every question, {len(missing)} have none (first: {missing[0]!r}); "
            "use the strict scorer, which counts a missing prediction as wrong"
        )


def require_unique(ids: Iterable[str], where: str) -> None:
    """Reject a question id that occurs twice, since predictions are joined by id.

    Raises:
        AnnotationError: names the id.
    """
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise AnnotationError(f"{where}: question id {id!r} occurs twice; give each question its own id")
        seen.add(id)
