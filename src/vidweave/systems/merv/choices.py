"""MERV's multiple choice: a prompt with letters, a free-form answer, and its first character."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from vidweave.errors import QueryError
from vidweave.language.layout import OptionsFormat
from vidweave.types import Answerer, Clip, Query

__all__ = ["NAIVE_OPTIONS", "answer_by_letter", "gold_letter", "is_right", "naive_question"]

# The four spaces before the first letter are in the original prompt, and part of the published results.
NAIVE_OPTIONS = OptionsFormat(
    prefix=(
        " Select the correct answer from the following options. Write your answer as only one of {letters} "
        "and nothing else.\n\n    "
    ),
    item="{letter}. {option}",
    separator="\n",
)
MOST_OPTIONS = 5


def naive_question(question: str, options: Sequence[str]) -> str:
    """Build the complete prompt.

    Raises:
        QueryError: more options than this strategy has letters.
    """
    if not 1 <= len(options) <= MOST_OPTIONS:
        raise QueryError(f"this strategy has letters for 1 to {MOST_OPTIONS} options, got {len(options)}")
    return question + NAIVE_OPTIONS.render(options)


def gold_letter(answer: int) -> str:
    """Return the letter of the right option."""
    return ascii_uppercase[answer]


def is_right(prediction: str, letter: str) -> bool:
    """Apply the original's rule: compare only the first character, ignoring case.

    "(C)" and "The answer is C" are wrong, "because" counts as B. Scoring options by likelihood (`pipe.ask(options=…)`)
    has no such errors.
    """
    return prediction.lower()[:1] == letter.lower()


def answer_by_letter(answerer: Answerer, items: Sequence[tuple[Clip, Query]], **decoding: object) -> list[str]:
    """Answer queries freely, with their options in the prompt."""
    prompts = [Query.about(clip, naive_question(query.text, query.options)) for clip, query in items]
    return [answer.text for answer in answerer.answer(prompts, trace=False, **decoding)]
