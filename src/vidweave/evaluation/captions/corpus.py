"""Shared parts of caption metrics: their result, n-gram counts, and the check of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidweave.errors import AnnotationError

__all__ = ["CaptionScore", "Ngram", "check_ids", "count_ngrams"]

Ngram = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaptionScore:
    """Value of one metric.

    Attributes:
        corpus: Value over all captions; for BLEU and METEOR not the mean of `each`.
        each: Id → value.
    """

    metric: str
    corpus: float
    each: Mapping[str, float]


def count_ngrams(words: Sequence[str], max_n: int) -> Counter[Ngram]:
    """Count the n-grams of a caption for n = 1 to `max_n`."""
    return Counter(tuple(words[start : start + n]) for n in range(1, max_n + 1) for start in range(len(words) - n + 1))


def check_ids(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Check that every id has one candidate and at least one reference.

    Raises:
        AnnotationError: ids differ, an id has no reference, or there are no ids.
    """
    if not references:
        raise AnnotationError("caption metrics need at least one id with references, got none")
    if different := sorted(candidates.keys() ^ references.keys()):
        side = "no references" if different[0] in candidates else "no caption"
        raise AnnotationError(
            f"captions and references must have the same ids, {len(different)} differ: {different[0]!r} has {side}; "
            "score missing captions as empty texts"
        )
    if empty := next((id for id, texts in references.items() if not texts), None):
        raise AnnotationError(f"caption {empty!r} has no references, expected at least one")
