"""SQA3D's two published scorers of open answers: the official script for language models, and 3D-LLM's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vidweave.evaluation.scorers.table import ScoreTable, Tally, require_unique, tally_by

__all__ = [
    "Sqa3dResponse",
    "clean_sqa3d",
    "clean_three_d_llm",
    "is_right_official",
    "question_class",
    "sqa3d_official",
    "three_d_llm_top1",
]

QUESTION_CLASSES = ("What", "How", "Can", "Is", "Which")
OFFICIAL_DEFECTS = (
    "an empty prediction is always correct",
    "a prediction is correct if it shares any word with the answer, or is a part of its text",
    "only the prediction is normalized, so that an answer such as 2 is never matched",
)
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
# Whole words that the official script replaces, in its order: typos of the annotators (including "let"), TV,
# numbers. Each replacement applies to the result of the previous ones.
_WORDS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
    r"o'[ ]+clock": "o'clock",
    "0": "zero",
    "none": "zero",
    **{str(number): word for number, word in enumerate(_NUMBERS) if number},
    "23": "twenty-three",
}
_REPLACEMENTS = [(re.compile(rf"\b{word}\b"), new) for word, new in _WORDS.items()]
_NUMBERED = re.compile(r"\b([a-zA-Z]+)[0-9]\b")  # "chair2"
_ARTICLES = [re.compile(rf"\b{article}\b ([a-zA-Z]+)") for article in ("a", "an", "the")]


@dataclass(frozen=True, kw_only=True)
class Sqa3dResponse:
    """Prediction for one question of SQA3D.

    Attributes:
        prediction: None if the model gave none.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    prediction: str | None


def clean_sqa3d(text: str) -> str:
    """Normalize a prediction like the official script.

    Lower case, only letters, digits, `,':-` and whitespace, known typos corrected, numbers up to 20 as words, no digit
    after a word, no article before a word.
    """
    text = re.sub(" {2,}", " ", text.lower().strip(" "))
    text = re.sub(r"[^a-zA-Z0-9,'\s:-]+", "", text)
    for pattern, new in _REPLACEMENTS:
        text = pattern.sub(new, text)
    text = _NUMBERED.sub(r"\1", text)
    for article in _ARTICLES:
        text = article.sub(r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def is_right_official(prediction: str, answer: str) -> bool:
    """Mark a prediction like the official script, including its defects (`OFFICIAL_DEFECTS`).

    The prediction is cleaned, the answer is not. It is correct if it is a part of the answer's text, is equal to it
    without whitespace, or has a word in common.
    """
    cleaned = clean_sqa3d(prediction)
    return (
        cleaned in answer
        or "".join(cleaned.split()) == "".join(answer.split())
        or not {*cleaned.split()}.isdisjoint(answer.split())
    )


def clean_three_d_llm(text: str) -> str:
    """Normalize a prediction like 3D-LLM: the first line, without commas, `<pad>`, `</s>` and outer whitespace."""
    for mark in (",", "<pad>", "</s>"):
        text = text.replace(mark, "")
    return text.strip().split("\n")[0]


def question_class(question: str) -> str:
    """Return the first of What, How, Can, Is, Which that occurs anywhere in the question (capitalized), else Other."""
    return next((name for name in QUESTION_CLASSES if name in question), "Other")


def sqa3d_official(responses: Sequence[Sqa3dResponse]) -> ScoreTable:
    """Score like SQA3D's own script for language models, per class of question; see `OFFICIAL_DEFECTS`."""
    return _score("sqa3d-official", responses, is_right_official, OFFICIAL_DEFECTS)


def three_d_llm_top1(responses: Sequence[Sqa3dResponse]) -> ScoreTable:
    """Score like 3D-LLM and the paper: the cleaned prediction is one of the answers, case-sensitive.

    This is also the strict scorer: it has no known defect.
    """
    return _score("sqa3d-3dllm", responses, lambda text, answer: clean_three_d_llm(text) == answer, ())


def _score(name: str, responses: Sequence[Sqa3dResponse], is_right, defects: tuple[str, ...]) -> ScoreTable:
    require_unique((response.id for response in responses), name)
    marks = []
    for response in responses:
        text = response.prediction
        right = text is not None and any(is_right(text, answer) for answer in response.answers)
        marks.append((question_class(response.question), right))
    num_right = sum(right for _, right in marks)
    num_answered = sum(response.prediction is not None for response in responses)
    return ScoreTable(
        scorer=name,
        groups=tally_by(marks, (*QUESTION_CLASSES, "Other")),
        overall=Tally(num_correct=num_right, num_items=len(marks)),
        answered=Tally(num_correct=num_right, num_items=num_answered),
        defects=defects,
    )
