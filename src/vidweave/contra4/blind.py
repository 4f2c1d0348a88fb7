"""Blind rules: baselines that answer without access to any media.

A fixed order of modalities alone scores .556 on the released test split, as high as the best published system.
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
"""A question → the chosen position; None if the rule cannot choose, which counts as wrong."""

MODALITY_PRIOR = ("audio", "image", "video", "pc")
"""Modalities sorted by how often they are the answer in the released files."""


def always(position: int) -> Rule:
    """Always choose the same label; None where that scene does not exist."""
    return lambda question: position if position < len(question.scenes) else None


def by_modality(order: Sequence[str] = MODALITY_PRIOR) -> Rule:
    """Choose the scene whose modality comes first in `order` (unlisted ones last; ties go to the first scene)."""
    rank = {modality: place for place, modality in enumerate(order)}

    def pick(question: ContrastQuestion) -> int:
        return min(range(len(question.scenes)), key=lambda i: rank.get(question.scenes[i].modality, len(rank)))

    return pick


def longest_caption(question: ContrastQuestion) -> int:
    """Choose the scene with the longest caption in characters; ties go to the first scene."""
    return max(range(len(question.scenes)), key=lambda i: len(question.scenes[i].caption))


def score(rule: Rule, questions: Sequence[ContrastQuestion]) -> float:
    """Share of questions that `rule` answers correctly."""
    return sum(rule(question) == question.answer for question in questions) / len(questions)


def uniform_score(questions: Sequence[ContrastQuestion]) -> float:
    """Expected score of random guessing."""
    return sum(1 / len(question.scenes) for question in questions) / len(questions)


RULES: dict[str, Rule] = {
    "always A": always(0),
    f"modality prior ({' > '.join(MODALITY_PRIOR)})": by_modality(),
    "longest caption": longest_caption,
}
"""Rules whose scores are reported beside every result."""


def fitted_prior(questions: Sequence[ContrastQuestion]) -> tuple[str, ...]:
    """Fit the order of modalities that scores best on `questions`, for use on another file; ties: alphabetical."""
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
    """Map rule name → question id → 1 (correct), 0 (wrong) or the chance of guessing correctly.

    Args:
        fit_on: Questions of another file; the best prior for that file is added as a rule.
    """
    rules = dict(RULES)
    if fit_on is not None:
        order = fitted_prior(fit_on)
        rules[f"fitted prior ({' > '.join(order)})"] = by_modality(order)
    scores = {name: {q.id: float(rule(q) == q.answer) for q in questions} for name, rule in rules.items()}
    return scores | {"uniform": {q.id: 1 / len(q.scenes) for q in questions}}


class BlindAnswerer:
    """Adapter that lets a rule answer like a model, so that its predictions can be compared with other runs.

    Args:
        name: Name of the model in predictions.
        rule: Receives the whole question, as `Contra4Task` stores it in ``query.extra["question"]``.
    """

    def __init__(self, name: str, rule: Rule) -> None:
        self.name, self.rule = name, rule

    def describe(self) -> dict[str, Any]:
        return {"model": self.name, "blind": True}

    def answer(self, queries: Sequence[Query], *, trace: bool | str = True, **decoding: Any) -> list[Answer]:
        """Return the choices of the rule; an empty answer where it does not choose.

        Raises:
            QueryError: a query of another task, or decoding arguments.
        """
        if decoding or any("question" not in query.extra for query in queries):
            raise QueryError(f"the rule {self.name!r} only answers Contra4 questions and takes no decoding arguments")
        picked = (self.rule(query.extra["question"]) for query in queries)
        return [Answer("" if position is None else LABELS[position]) for position in picked]
