"""ROUGE-L, as in the COCO caption evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidweave.evaluation.captions.corpus import CaptionScore, check_ids

__all__ = ["rouge_l"]

BETA = 1.2  # weight of recall


def rouge_l(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionScore:
    """Compute ROUGE-L of tokenized captions: F = (1 + β²) P R / (R + β² P), β = 1.2; the corpus value is the mean.

    P is the largest precision and R the largest recall over the references, independently, so they may come from two
    references.

    Args:
        candidates: Id → tokenized caption.
        references: Id → tokenized references.

    Raises:
        AnnotationError: ids differ, or there are none.
    """
    check_ids(candidates, references)
    each = {id: _score(candidates[id], references[id]) for id in references}
    return CaptionScore(metric="ROUGE-L", corpus=sum(each.values()) / len(each), each=each)


def _score(candidate: str, references: Sequence[str]) -> float:
    words = candidate.split(" ")  # the original divides by the length, so an empty caption is one empty word
    texts = [reference.split(" ") for reference in references]
    common = [_common_length(words, text) for text in texts]
    precision = max(common) / len(words)
    recall = max(length / len(text) for length, text in zip(common, texts, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Compute the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, 1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]
