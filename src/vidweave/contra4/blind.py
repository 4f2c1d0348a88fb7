"""Rules that answer without looking at any medium: what a score must be held against.

The fixed order of modalities alone scores .556 on the released test split, as much as the best published system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

from vidweave.contra4.schema import LABELS, ContrastQuestion
from vidweave.errors import QueryError
from vidweave.types import Answer, Query

__all__ = [
    "MODALITY_PRIOR",
    "RULES",
    "BlindAnswerer",
    "Rule",
    "always",
    "blind_answers",
    "by_modality",
    "fitted_prior",
    "longest_caption",
    "score",
    "uniform_score",
]

Rule = Callable[[ContrastQuestion], int | None]
"""A question → the position that the rule picks; None where it has nothing to pick, which is wrong."""

MODALITY_PRIOR = ("audio", "image", "video", "pc")
"""Modalities by how often they are the answer, in the released files."""


def always(position: int) -> Rule:
    """The same label every time; nothing where there is no such scene."""
    return lambda question: position if position < len(question.scenes) else None


def by_modality(order: Sequence[str] = MODALITY_PRIOR) -> Rule:
    """The scene whose modality comes first in `order`, unlisted ones last; of equals the first."""
    rank = {modality: place for place, modality in enumerate(order)}

    def pick(question: ContrastQuestion) -> int:
        return min(range(len(question.scenes)), key=lambda i: rank.get(question.scenes[i].modality, len(rank)))

    return pick


def longest_caption(question: ContrastQuestion) -> int:
    """The scene of which most is said, in characters; of equals the first."""
    return max(range(len(question.scenes)), key=lambda i: len(question.scenes[i].caption))


def score(rule: Rule, questions: Sequence[ContrastQuestion]) -> float:
    """Share of questions that `rule` answers rightly."""
    return sum(rule(question) == question.answer for question in questions) / len(questions)


def uniform_score(questions: Sequence[ContrastQuestion]) -> float:
    """What guessing scores on average."""
    return sum(1 / len(question.scenes) for question in questions) / len(questions)


RULES: dict[str, Rule] = {
    "always A": always(0),
    f"modality prior ({' > '.join(MODALITY_PRIOR)})": by_modality(),
    "longest caption": longest_caption,
}
"""The rules that stand beside every result."""


def fitted_prior(questions: Sequence[ContrastQuestion]) -> tuple[str, ...]:
    """The order of modalities that scores best on `questions`, meant for another file; of equals the first in the alphabet."""
    seen = Counter((question.modalities, question.answer) for question in questions)
    names = sorted({modality for modalities, _ in seen for modality in modalities})

    def right(order: tuple[str, ...]) -> int:
        places = {modality: place for place, modality in enumerate(order)}
        firsts = (min(range(len(m)), key=lambda i: places[m[i]]) == answer for m, answer in seen)
        return sum(count for is_right, count in zip(firsts, seen.values(), strict=True) if is_right)

    return max(permutations(names), key=right)


def blind_answers(
    questions: Sequence[ContrastQuestion], fit_on: Sequence[ContrastQuestion] | None = None
) -> dict[str, dict[str, float]]:
    """Name of each rule → id of each question → 1 right, 0 wrong, or the chance of guessing.

    Args:
        fit_on: Questions of another file; the prior that is best there is a further rule.
    """
    rules = dict(RULES)
    if fit_on is not None:
        order = fitted_prior(fit_on)
        rules[f"fitted prior ({' > '.join(order)})"] = by_modality(order)
    scores = {name: {q.id: float(rule(q) == q.answer) for q in questions} for name, rule in rules.items()}
    return scores | {"uniform": {q.id: 1 / len(q.scenes) for q in questions}}


class BlindAnswerer:
    """A rule as a model, for records that other runs are compared with.

    Args:
        name: How it is called in records.
        rule: Sees the question whole, as `Contra4Task` puts it into ``query.extra["question"]``.
    """

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule

    def describe(self) -> dict[str, Any]:
        return {"model": self.name, "blind": True}

    def answer(self, queries: Sequence[Query], *, trace: bool | str = True, **decoding: Any) -> list[Answer]:
        """What the rule picks; nothing where it picks nothing.

        Raises:
            QueryError: a query of another task, or decoding arguments.
        """
        if decoding or any("question" not in query.extra for query in queries):
            raise QueryError(f"the rule {self.name!r} answers questions of Contra4 and takes no decoding arguments")
        picked = (self.rule(query.extra["question"]) for query in queries)
        return [Answer("" if position is None else LABELS[position]) for position in picked]
