"""Baselines that see neither media nor question: the most frequent answer, overall and per question type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vidweave.data.schema import Example
from vidweave.evaluation.metrics import normalize_answer

__all__ = ["blind_baselines"]


def blind_baselines(examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Compute the scores of each baseline: name → example id → 1 if its answer is correct.

    For multiple choice, the answer is a position, as of a model that always chooses the same letter. The most frequent
    answers are counted on the examples themselves, so the scores are upper bounds for such a rule.
    """
    labeled = [example for example in examples if example.is_labeled]
    if not labeled:
        return {}
    per_type: dict[str, list[Example]] = {}
    for example in labeled:
        per_type.setdefault(example.question_type, []).append(example)
    result = {"most frequent answer": _most_frequent(labeled)}
    if len(per_type) > 1:
        merged: dict[str, float] = {}
        for members in per_type.values():
            merged |= _most_frequent(members)
        result["most frequent answer per type"] = merged
    if all(example.query.options for example in labeled):
        result["chance"] = {example.id: 1 / len(example.query.options) for example in labeled}
    return result


def _most_frequent(examples: Sequence[Example]) -> dict[str, float]:
    answers = {example.id: _answers(example) for example in examples}
    counts = Counter(answer for result in answers.values() for answer in result)
    best = max(counts, key=lambda answer: counts[answer])
    return {name: float(best in result) for name, result in answers.items()}


def _answers(example: Example) -> set[str]:
    if example.query.options:
        return {str(example.position)}
    return {normalize_answer(answer) for answer in example.accepted}
