"""MA-LMM's exact match for open answers with several beams: top-1 and top-5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidweave.errors import AnnotationError
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.scorers.table import ScoreTable, Tally

__all__ = ["ONE_WORD_DATASETS", "beam_accuracy_malmm", "beam_accuracy_strict"]

# Answers are single words, and MA-LMM cuts every beam at the first space
ONE_WORD_DATASETS = ("msvd_qa", "msrvtt_qa")
_DEFECTS = (
    "a question without a prediction is excluded from the denominator",
    "comparison is case-sensitive and keeps punctuation; a beam that begins with a space becomes empty",
)


def beam_accuracy_malmm(
    answers: Mapping[str, str], beams: Mapping[str, Sequence[str]], *, cuts_at_space: bool
) -> ScoreTable:
    """Score like MA-LMM: the best beam for "top1", any of the first five for "top5", by exact equality.

    Args:
        answers: Question id → answer.
        beams: Question id → predictions, best first; only questions in it count.
        cuts_at_space: Cut each beam at its first space, as the original does for `ONE_WORD_DATASETS`.

    Raises:
        AnnotationError: a prediction for a question that does not exist.
    """
    _require_known(answers, beams)
    cut = {id: [beam.split(" ")[0] if cuts_at_space else beam for beam in result] for id, result in beams.items()}
    marks = [(result[:1].count(answers[id]) > 0, answers[id] in result[:5]) for id, result in cut.items()]
    return _table("malmm-official", marks, len(marks), _DEFECTS)


def beam_accuracy_strict(answers: Mapping[str, str], beams: Mapping[str, Sequence[str]]) -> ScoreTable:
    """Score all questions, missing ones as wrong; ignoring case, surrounding whitespace and a final period."""
    _require_known(answers, beams)
    marks = []
    for id, answer in answers.items():
        right = [is_correct(beam, answer) for beam in beams.get(id, ())[:5]]
        marks.append((right[:1] == [True], any(right)))
    return _table("malmm-strict", marks, sum(bool(beams.get(id)) for id in answers), ())


def _require_known(answers: Mapping[str, str], beams: Mapping[str, Sequence[str]]) -> None:
    if unknown := next((id for id in beams if id not in answers), None):
        raise AnnotationError(f"there is a prediction for question {unknown!r}, which the annotations do not have")


def _table(name: str, marks: Sequence[tuple[bool, bool]], num_answered: int, defects: tuple[str, ...]) -> ScoreTable:
    first = sum(top1 for top1, _ in marks)
    overall = Tally(num_correct=first, num_items=len(marks))
    top5 = Tally(num_correct=sum(top5 for _, top5 in marks), num_items=len(marks))
    answered = Tally(num_correct=first, num_items=num_answered)
    return ScoreTable(
        scorer=name, groups={"top1": overall, "top5": top5}, overall=overall, answered=answered, defects=defects
    )
