"""Rules that answer without looking at any medium: what a score must be held against.

The fixed order of modalities alone scores .556 on the released test split, as much as the best published system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidweave.contra4.schema import ContrastQuestion

__all__ = ["MODALITY_PRIOR", "Rule", "always", "by_modality", "longest_caption", "score", "uniform_score"]

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
