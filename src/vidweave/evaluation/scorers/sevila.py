"""SeViLA's multiple-choice score, also used by CREMA: a fraction overall, percentages per question type."""

from __future__ import annotations

from collections.abc import Sequence

from vidweave.errors import PredictionError
from vidweave.evaluation.scorers.table import Response, ScoreTable, require_predictions, score, tally_by

__all__ = ["STAR_TYPES", "sevila_metrics", "sevila_strict", "sevila_type"]

STAR_TYPES = ("Interaction", "Sequence", "Prediction", "Feasibility")


def sevila_type(question_id: str) -> str:
    """Return the part of a question id before the first underscore, which is SeViLA's question type."""
    return question_id.split("_")[0]


def sevila_metrics(responses: Sequence[Response[int]]) -> dict[str, float]:
    """Return the numbers of SeViLA's released script.

    `agg_metrics` is a fraction, except for STAR, where it is the mean of its four types in percent; `total` is the
    number of rows, including repeated ids; each type is in percent. Question types come from the ids.

    Raises:
        PredictionError: a question without a prediction, or a type without a correct answer (the script fails on
            these).
    """
    require_predictions(responses, "sevila-official")
    groups = tally_by((sevila_type(response.id), response.prediction == response.answer) for response in responses)
    failed = next((name for name, tally in groups.items() if not tally.num_correct), None)
    if failed is not None or not responses:
        raise PredictionError(
            f"sevila-official has no value if a type has no correct answer ({failed or 'there are no questions'}); "
            "use the strict scorer, which gives 0"
        )
    percents = {name: tally.percent or 0.0 for name, tally in groups.items()}
    overall = sum(tally.num_correct for tally in groups.values()) / len(responses)
    if any(name in percents for name in STAR_TYPES):
        overall = sum(percents.get(name, 0.0) for name in STAR_TYPES) / len(STAR_TYPES)
    return {"agg_metrics": overall, "total": float(len(responses)), **percents}


def sevila_strict(responses: Sequence[Response[int]]) -> ScoreTable:
    """Score per question type (of the ids) and over all questions; a missing prediction is wrong."""
    typed = [
        Response(id=r.id, question_type=sevila_type(r.id), answer=r.answer, prediction=r.prediction) for r in responses
    ]
    return score("sevila-strict", typed, lambda prediction, answer: prediction == answer)
