"""NExT-QA's official multiple-choice score: per type, per causal / temporal / descriptive, and overall."""

from __future__ import annotations

from collections.abc import Sequence

from vidweave.errors import AnnotationError
from vidweave.evaluation.scorers.table import Response, ScoreTable, Tally, require_predictions, score

__all__ = ["nextqa_official", "nextqa_strict"]

# Question type → group in the official script
_GROUPS = {"CW": "Why", "CH": "How", "TN": "Bef&Aft", "TC": "When", "DC": "Cnt", "DL": "Loc", "DO": "Other"}
_SUMS = {"Acc_C": ("Why", "How"), "Acc_T": ("Bef&Aft", "When"), "Acc_D": ("Cnt", "Loc", "Other")}
_MERGED = "type TP (previous) is counted as TN (next), so Bef&Aft contains both"


def nextqa_official(responses: Sequence[Response[int]]) -> ScoreTable:
    """Score like the official script, which prints percentages with two decimals.

    Type TP counts as TN. Options are compared by position, so options with equal text are distinct.

    Raises:
        PredictionError: a question has no prediction (the script fails on it).
        AnnotationError: an unknown question type.
    """
    require_predictions(responses, "nextqa-official")
    return _score("nextqa-official", responses, merges_previous=True)


def nextqa_strict(responses: Sequence[Response[int]]) -> ScoreTable:
    """Score with TP as a separate group ("Prev"); a missing prediction is wrong."""
    return _score("nextqa-strict", responses, merges_previous=False)


def _score(name: str, responses: Sequence[Response[int]], *, merges_previous: bool) -> ScoreTable:
    groups = {**_GROUPS, "TP": "Bef&Aft" if merges_previous else "Prev"}
    unknown = next((r for r in responses if r.question_type not in groups), None)
    if unknown is not None:
        raise AnnotationError(
            f"{name}: question {unknown.id!r} has type {unknown.question_type!r}, expected one of {', '.join(groups)}"
        )
    table = score(
        name,
        responses,
        lambda prediction, answer: prediction == answer,
        group=groups.__getitem__,
        groups=list(dict.fromkeys(groups.values())),
        defects=(_MERGED,) if merges_previous else (),
    )
    temporal = _SUMS["Acc_T"] if merges_previous else (*_SUMS["Acc_T"], "Prev")
    sums = {**_SUMS, "Acc_T": temporal}
    merged = {name: _sum([table.groups[part] for part in parts]) for name, parts in sums.items()}
    return ScoreTable(
        scorer=name,
        groups={**table.groups, **merged},
        overall=table.overall,
        answered=table.answered,
        defects=table.defects,
    )


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(num_correct=sum(t.num_correct for t in tallies), num_items=sum(t.num_items for t in tallies))
