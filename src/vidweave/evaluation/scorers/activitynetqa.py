"""ActivityNet-QA's official exact-match score, with its wrong "Free" group and the intended one."""

from __future__ import annotations

from collections.abc import Sequence

from vidweave.errors import AnnotationError
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.scorers.table import Response, ScoreTable, Tally, score

__all__ = ["activitynetqa_official", "activitynetqa_strict", "print_activitynetqa"]

_TYPES = {
    "0": "Motion",
    "1": "Spatial Relation",
    "2": "Temporal Relation",
    "3": "Yes/No",
    "4": "Color",
    "5": "Object",
    "6": "Location",
    "7": "Number",
    "8": "Other",
}
_RELATIONS = ("Motion", "Spatial Relation", "Temporal Relation")
_FREE = tuple(name for name in _TYPES.values() if name not in _RELATIONS)
_DEFECT = (
    "the denominator of Free leaves out the first three question types in order of appearance, not types 0 to 2; "
    '"Free (intended)" divides by the right number'
)


def activitynetqa_official(responses: Sequence[Response[str]]) -> ScoreTable:
    """Score like the official script: raw equality; it prints fractions with four decimals.

    The script's "Free" (types 3 to 8) is wrong: its denominator excludes the three types that appear first in the file.
    The table has that number under "Free" and the intended one under "Free (intended)". The script fails if one of the
    nine types does not occur; here that group is empty.

    Raises:
        AnnotationError: a question type outside "0" to "8".
    """
    table = _score("activitynetqa-official", responses, str.__eq__)
    seen = list(dict.fromkeys(_type_name(response) for response in responses))
    free = table.groups["Free"]
    wrong = Tally(num_correct=free.num_correct, num_items=sum(table.groups[name].num_items for name in seen[3:]))
    groups = {**table.groups, "Free": wrong, "Free (intended)": free}
    return ScoreTable(
        scorer=table.scorer, groups=groups, overall=table.overall, answered=table.answered, defects=(_DEFECT,)
    )


def activitynetqa_strict(responses: Sequence[Response[str]]) -> ScoreTable:
    """Score by equality, ignoring case, surrounding whitespace and a final period; a missing prediction is wrong."""
    return _score("activitynetqa-strict", responses, is_correct)


def print_activitynetqa(table: ScoreTable) -> list[str]:
    """Return the lines that the official script prints."""
    shown = {name: tally.show(decimals=4, as_percent=False) for name, tally in table.groups.items()}
    return [
        "Accuracy (per question type):",
        *(f"{name}: {shown[name]}" for name in (*_RELATIONS, "Free")),
        f"All: {table.overall.show(decimals=4, as_percent=False)}",
        "Accuracy of the Free type questions(per answer type):",
        *(f"{name}: {shown[name]}" for name in _FREE),
    ]


def _score(name: str, responses: Sequence[Response[str]], is_right) -> ScoreTable:
    for response in responses:
        _type_name(response)
    table = score(name, responses, is_right, group=_TYPES.__getitem__, groups=list(_TYPES.values()))
    free = [table.groups[kind] for kind in _FREE]
    total = Tally(num_correct=sum(t.num_correct for t in free), num_items=sum(t.num_items for t in free))
    groups = {**table.groups, "Free": total}
    return ScoreTable(scorer=name, groups=groups, overall=table.overall, answered=table.answered)


def _type_name(response: Response[str]) -> str:
    if response.question_type not in _TYPES:
        raise AnnotationError(
            f"ActivityNet-QA: question {response.id!r} has type {response.question_type!r}, expected 0 to 8"
        )
    return _TYPES[response.question_type]
