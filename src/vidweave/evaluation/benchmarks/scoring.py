"""Scorers by kind of data set and by name: outcomes → published and strict scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidweave.errors import PredictionError
from vidweave.evaluation.benchmarks.outcome import Outcome, by_position, by_text
from vidweave.evaluation.grounding import is_grounded, target_spans
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.scorers.activitynetqa import activitynetqa_official, activitynetqa_strict
from vidweave.evaluation.scorers.music_avqa import music_avqa_official, music_avqa_strict
from vidweave.evaluation.scorers.nextqa import nextqa_official, nextqa_strict
from vidweave.evaluation.scorers.normalization import is_exact_match
from vidweave.evaluation.scorers.sevila import STAR_TYPES, sevila_metrics
from vidweave.evaluation.scorers.sqa3d import Sqa3dResponse, sqa3d_official, three_d_llm_top1
from vidweave.evaluation.scorers.table import Response, ScoreTable, score
from vidweave.evaluation.scorers.vqa_top1 import beam_accuracy_malmm, beam_accuracy_strict
from vidweave.registration import import_object

__all__ = [
    "Score",
    "Scorer",
    "Values",
    "activitynet_qa",
    "choices",
    "counts",
    "exact_label",
    "is_strictly_right",
    "music_avqa",
    "nextqa",
    "one_word",
    "open_answers",
    "sevila",
    "sqa3d",
    "star",
    "tgif_qa",
]

LEGACY = "vidweave.systems.crema.scoring"  # CREMA's rules belong to the system; they are imported on use
_SUBSTRING = "a prediction that is a part of the answer's text counts as correct"


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values of a scorer that are not counts of correct answers.

    Attributes:
        scorer: Name of the rule.
        values: Metric → number; empty if the rule could not be applied.
        note: Scale and denominator, or why there are no values.
        defects: Faults of the published rule that this result reproduces.
    """

    scorer: str
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    defects: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {"scorer": self.scorer, "values": dict(self.values), "note": self.note, "defects": list(self.defects)}


Score = ScoreTable | Values
Scorer = Callable[[Sequence[Outcome]], Sequence[Score]]
"""Scores of labeled questions, the published one first if there is one."""


def choices(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score multiple choice without a published script by position; a missing reply is wrong."""
    return [score("multiple-choice-strict", by_position(outcomes), int.__eq__)]


def nextqa(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score NExT-QA: its own score (TP counted as TN), SeViLA's, and the strict one."""
    responses = by_position(outcomes)
    return [_published(nextqa_official, responses, "nextqa-official"), _sevila(responses), nextqa_strict(responses)]


def sevila(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score data sets of SeViLA's script: its numbers, and the strict score."""
    return [_sevila(by_position(outcomes)), *choices(outcomes)]


def star(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score STAR: the mean of its four question types in percent, and the strict score."""
    return [_sevila(by_position(outcomes)), *choices(outcomes), _star_mean(outcomes)]


def music_avqa(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score MUSIC-AVQA: its own exact match, CREMA's rule, and the strict score."""
    typed = [
        Response(
            id=o.example.id,
            question_type=json.dumps(o.example.question_type.rsplit(" ", 1)),
            answer=o.example.accepted[-1],
            prediction=o.reply,
        )
        for o in outcomes
    ]
    legacy = _by_rule("music-avqa-legacy-crema", outcomes, import_object(f"{LEGACY}:legacy_music_avqa"), (_SUBSTRING,))
    return [_published(music_avqa_official, typed, "music-avqa-official"), legacy, music_avqa_strict(typed)]


def sqa3d(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score SQA3D, from strict to lenient: 3D-LLM's exact match, CREMA's substring rule, the official script."""
    responses = [
        Sqa3dResponse(
            id=o.example.id,
            question=str(o.example.query.extra.get("question", o.example.query.text)),
            answers=o.example.accepted,
            prediction=o.reply,
        )
        for o in outcomes
    ]
    legacy = _by_rule(
        "sqa3d-legacy-crema",
        outcomes,
        import_object(f"{LEGACY}:legacy_sqa3d"),
        (_SUBSTRING, "an empty prediction is right everywhere"),
    )
    return [three_d_llm_top1(responses), legacy, sqa3d_official(responses)]


def open_answers(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score open answers: exact match under the normalizations `raw` and `casefold`."""
    return [_exact(outcomes, "raw"), _exact(outcomes, "casefold")]


def one_word(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score MSVD-QA and MSRVTT-QA: MA-LMM's top-1 (cut at the first space), and the strict score."""
    return _malmm(outcomes, cuts_at_space=True)


def activitynet_qa(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score ActivityNet-QA: the official script with its wrong "Free" group, MA-LMM's top-1, and the strict score."""
    if any("type" not in o.example.query.extra for o in outcomes):  # the format for judges has no question types
        return [*_malmm(outcomes, cuts_at_space=False)]
    typed = [
        Response(id=r.id, question_type=str(o.example.query.extra["type"]), answer=r.answer, prediction=r.prediction)
        for o, r in zip(outcomes, by_text(outcomes), strict=True)
    ]
    return [activitynetqa_official(typed), activitynetqa_strict(typed), _malmm(outcomes, cuts_at_space=False)[0]]


def counts(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score TGIF-QA's repetition count: mean squared error of answered questions, and share of exact numbers of all."""
    pairs = [(_number(o.reply), float(o.example.answer)) for o in outcomes]
    read = [(result, right) for result, right in pairs if result is not None]
    error = {"MSE": sum((result - right) ** 2 for result, right in read) / len(read)} if read else {}
    note = f"over {len(read)} of {len(pairs)} questions, whose replies hold a number"
    exact = score("count-strict", by_text(outcomes), lambda text, right: _number(text) == float(right))
    return [Values(scorer="count-mse", values=error, note=note), exact]


def tgif_qa(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score TGIF-QA: positions for action and transition, squared error for count, exact match for frame questions."""
    if all(o.example.query.options for o in outcomes):
        return choices(outcomes)
    if all(o.example.question_type == "count" for o in outcomes):
        return counts(outcomes)
    return open_answers(outcomes)


def exact_label(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score Breakfast and COIN: MA-LMM's text equality of the whole reply, and the strict score."""
    return _malmm(outcomes, cuts_at_space=False)


# ---- parts


def _published(
    scorer: Callable[[Sequence[Response[Any]]], ScoreTable], responses: Sequence[Response[Any]], name: str
) -> Score:
    """Return the published score, or the reason why it has no value."""
    try:
        return scorer(responses)
    except PredictionError as error:
        return Values(scorer=name, note=str(error))


def _sevila(responses: Sequence[Response[int]]) -> Score:
    defects = ("overall is a fraction and types are percentages; STAR's overall is the mean of its types",)
    try:
        return Values(scorer="sevila-official", values=sevila_metrics(responses), note=defects[0], defects=defects)
    except PredictionError as error:
        return Values(scorer="sevila-official", note=str(error), defects=defects)


def _star_mean(outcomes: Sequence[Outcome]) -> Values:
    marks = {
        kind: [o.choice == o.example.position for o in outcomes if o.example.question_type == kind]
        for kind in STAR_TYPES
    }
    means = {kind: 100.0 * sum(result) / len(result) for kind, result in marks.items() if result}
    mean = {"mean of types": sum(means.values()) / len(means)} if means else {}
    return Values(scorer="star-strict", values={**mean, **means}, note="percent; a missing reply is wrong")


def _by_rule(
    name: str, outcomes: Sequence[Outcome], rule: Callable[[str, str], bool], defects: tuple[str, ...]
) -> ScoreTable:
    return score(name, by_text(outcomes), rule, defects=defects)


def _exact(outcomes: Iterable[Outcome], normalization: str) -> ScoreTable:
    outcomes = list(outcomes)
    accepted = {o.example.id: o.example.accepted for o in outcomes}
    responses = [
        Response(id=r.id, question_type=r.question_type, answer=r.id, prediction=r.prediction)
        for r in by_text(outcomes)
    ]
    return score(
        f"exact-match-{normalization}",
        responses,
        lambda text, name: is_exact_match(text, accepted[name], normalization),
    )


def _malmm(outcomes: Sequence[Outcome], *, cuts_at_space: bool) -> list[Score]:
    answers = {o.example.id: o.example.answer for o in outcomes}
    beams = {o.example.id: (o.reply, *o.alternatives) for o in outcomes if o.reply is not None}
    official = beam_accuracy_malmm(answers, beams, cuts_at_space=cuts_at_space)
    strict = beam_accuracy_strict(answers, beams)
    if any(len(result) > 1 for result in beams.values()):
        return [official, strict]
    # Without further beams, top-5 is not informative
    return [replace(table, groups={"top1": table.groups["top1"]}) for table in (official, strict)]


def _number(text: str | None) -> float | None:
    words = (text or "").strip().removesuffix(".").split()
    try:
        return float(words[0]) if len(words) == 1 else None
    except ValueError:
        return None


def is_strictly_right(outcome: Outcome) -> bool:
    """Whether a reply is correct by the strict rule of every report: the position, an accepted text, or a span."""
    example, choice = outcome.example, outcome.choice
    if target_spans(example):
        return outcome.reply is not None and is_grounded(example, outcome.reply)
    if example.query.options:
        is_listed = choice is not None and example.query.options[choice] in example.accepted[1:]
        return choice == example.position or is_listed
    return outcome.reply is not None and any(is_correct(outcome.reply, text) for text in outcome.example.accepted)
