"""BLEU-1 to BLEU-4, as in the COCO caption evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidweave.evaluation.captions.corpus import CaptionScore, check_ids, count_ngrams

__all__ = ["bleu"]

MAX_N = 4
# Added by the original to avoid division by zero
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Counts of one caption, or their sums over a corpus.

    Attributes:
        matched: For n = 1 to 4, n-grams that occur in a reference, each at most as often as in it.
        guessed: For n = 1 to 4, n-grams of the candidate.
    """

    matched: tuple[int, ...]
    guessed: tuple[int, ...]
    length: int
    reference_length: int


def bleu(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> list[CaptionScore]:
    """Compute BLEU-1 to BLEU-4 of tokenized captions.

    The corpus value sums the counts of all captions. The reference length of a caption is the closest one (the shorter
    one on a tie).

    Args:
        candidates: Id → tokenized caption.
        references: Id → tokenized references.

    Raises:
        AnnotationError: ids differ, or there are none.
    """
    check_ids(candidates, references)
    counts = {id: _count(candidates[id], references[id]) for id in references}
    each = {id: _scores(count) for id, count in counts.items()}
    corpus = _scores(_sum(list(counts.values())))
    return [
        CaptionScore(metric=f"BLEU-{n + 1}", corpus=corpus[n], each={id: values[n] for id, values in each.items()})
        for n in range(MAX_N)
    ]


def _count(candidate: str, references: Sequence[str]) -> _Counts:
    words = candidate.split()
    ngrams = count_ngrams(words, MAX_N)
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= count_ngrams(reference.split(), MAX_N)
    matched = [0] * MAX_N
    for ngram, count in ngrams.items():
        matched[len(ngram) - 1] += min(count, most[ngram])
    length = len(words)
    return _Counts(
        matched=tuple(matched),
        guessed=tuple(max(0, length - n) for n in range(MAX_N)),
        length=length,
        reference_length=min((abs(len(r.split()) - length), len(r.split())) for r in references)[1],
    )


def _sum(counts: Sequence[_Counts]) -> _Counts:
    return _Counts(
        matched=tuple(sum(column) for column in zip(*(count.matched for count in counts), strict=True)),
        guessed=tuple(sum(column) for column in zip(*(count.guessed for count in counts), strict=True)),
        length=sum(count.length for count in counts),
        reference_length=sum(count.reference_length for count in counts),
    )


def _scores(counts: _Counts) -> list[float]:
    """Compute the geometric mean of the precisions up to each n, times the brevity penalty."""
    ratio = (counts.length + _TINY) / (counts.reference_length + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for n, (matched, guessed) in enumerate(zip(counts.matched, counts.guessed, strict=True), 1):
        product *= (matched + _TINY) / (guessed + _SMALL)
        scores.append(product ** (1 / n) * penalty)
    return scores
