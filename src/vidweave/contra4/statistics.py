"""Statistics of a question file: counts, balance, and scores of blind rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vidweave.contra4.blind import MODALITY_PRIOR, always, by_modality, longest_caption, score, uniform_score
from vidweave.contra4.parsing import LETTERS
from vidweave.contra4.schema import ContrastQuestion

__all__ = ["blind_scores", "overlap", "statistics"]


def statistics(questions: Sequence[ContrastQuestion]) -> dict[str, Any]:
    """Compute counts and shares of a file as JSON data; docs/contra4.md describes the keys."""
    scenes = [scene for question in questions for scene in question.scenes]
    words = [len(question.question.split()) for question in questions]
    return {
        "questions": len(questions),
        "distinct_questions": len({question.question for question in questions}),
        "question_words": {"mean": sum(words) / len(words), "min": min(words), "max": max(words)},
        "without_question_mark": sum(not q.question.rstrip().endswith("?") for q in questions),
        "q_type": _counts(q.q_type for q in questions),
        "selection": _counts(q.selection for q in questions),
        "selection_and_q_type": _counts(f"{q.selection} {q.q_type}" for q in questions),
        "labels": _counts(LETTERS[q.answer] for q in questions),
        "labels_by_q_type": {
            q_type: _counts(LETTERS[q.answer] for q in questions if q.q_type == q_type)
            for q_type in _counts(q.q_type for q in questions)
        },
        "modality_sets": _counts("+".join(q.modality_set) for q in questions),
        "repeated_modality": sum(len(set(q.modalities)) < len(q.modalities) for q in questions),
        "repeated_medium": sum(len({s.key for s in q.scenes}) < len(q.scenes) for q in questions),
        "modalities": _modalities(questions),
        "sources": _sources(questions),
        "media": len({scene.key for scene in scenes}),
        "categories": _counts(q.category for q in questions if q.category is not None),
        "blind": blind_scores(questions),
    }


def blind_scores(questions: Sequence[ContrastQuestion]) -> dict[str, float]:
    """Score each rule that sees no media."""
    constants = {f"always {letter}": score(always(i), questions) for i, letter in enumerate(LETTERS)}
    return {
        **constants,
        f"modality prior ({' > '.join(MODALITY_PRIOR)})": score(by_modality(), questions),
        "longest caption": score(longest_caption, questions),
        "uniform": uniform_score(questions),
    }


def overlap(ours: Sequence[ContrastQuestion], theirs: Sequence[ContrastQuestion]) -> dict[str, int]:
    """Count what two files have in common: ids, question texts, media."""

    def shared(values) -> int:
        return len(set(map_over(ours, values)) & set(map_over(theirs, values)))

    def map_over(questions, values) -> Iterable[Any]:
        return (value for question in questions for value in values(question))

    return {
        "ids": shared(lambda q: (q.id,)),
        "questions": shared(lambda q: (q.question,)),
        "media": shared(lambda q: (scene.key for scene in q.scenes)),
    }


def _modalities(questions: Sequence[ContrastQuestion]) -> dict[str, dict[str, float]]:
    """Compute per modality: scenes, mean words per caption, questions it answers, and how often when present."""
    names = _counts(m for q in questions for m in q.modalities)
    by_modality_name = {}
    for name, scenes in names.items():
        captions = [len(s.caption.split()) for q in questions for s in q.scenes if s.modality == name]
        answers = sum(q.modalities[q.answer] == name for q in questions)
        present = sum(name in q.modalities for q in questions)
        by_modality_name[name] = {
            "scenes": scenes,
            "caption_words": sum(captions) / len(captions),
            "answers": answers,
            "answers_when_present": answers / present,
        }
    return by_modality_name


def _sources(questions: Sequence[ContrastQuestion]) -> dict[str, dict[str, int]]:
    scenes = [scene for question in questions for scene in question.scenes]
    return {
        source: {"scenes": count, "media": len({s.key for s in scenes if s.source == source})}
        for source, count in _counts(s.source for s in scenes).items()
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
