"""Exact match of open answers under a named normalization, which reports can state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from vidweave.errors import UnknownNameError
from vidweave.evaluation.metrics import normalize_answer
from vidweave.evaluation.scorers.sqa3d import clean_sqa3d, clean_three_d_llm
from vidweave.evaluation.scorers.vqa_text import vqa_processed

__all__ = ["NORMALIZATIONS", "exact_match", "is_exact_match"]

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {str(number): word for number, word in enumerate(_NUMBERS, 1)}


def _unchanged(text: str) -> str:
    """ActivityNet-QA, MA-LMM."""
    return text


def _digits_to_words(text: str) -> str:
    """CREMA: a number from 1 to 10 becomes a word."""
    return _WORDS.get(text, text)


# Name → function applied to the prediction and to the answers
NORMALIZATIONS: Mapping[str, Callable[[str], str]] = {
    "raw": _unchanged,
    "casefold": normalize_answer,
    "digits-to-words": _digits_to_words,
    "3d-llm": clean_three_d_llm,
    "sqa3d": clean_sqa3d,
    "vqa": vqa_processed,
}


def is_exact_match(prediction: str, answers: Iterable[str], normalization: str = "casefold") -> bool:
    """Return whether a prediction equals one of the answers after normalization of both.

    An empty prediction matches only an empty answer, whatever the normalization removes.

    Raises:
        UnknownNameError: no such normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise UnknownNameError("normalization of answers", normalization, NORMALIZATIONS)
    normalize = NORMALIZATIONS[normalization]
    made = normalize(prediction)
    return any(made == normalize(answer) and (made != "" or prediction == answer) for answer in answers)


def exact_match(
    predictions: Mapping[str, str], answers: Mapping[str, Iterable[str]], normalization: str = "casefold"
) -> Mapping[str, bool]:
    """Mark every question; one without a prediction is wrong.

    Args:
        predictions: Question id → text.
        answers: Question id → accepted answers.

    Raises:
        UnknownNameError: no such normalization.
    """
    return {
        id: id in predictions and is_exact_match(predictions[id], right, normalization) for id, right in answers.items()
    }
