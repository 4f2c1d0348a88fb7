"""CIDEr (in fact CIDEr-D), as in the COCO caption evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from vidweave.evaluation.captions.corpus import CaptionScore, Ngram, check_ids, count_ngrams

__all__ = ["cider"]

MAX_N = 4
SIGMA = 6.0  # standard deviation of the length penalty

Weights = list[dict[Ngram, float]]  # for n = 1 to 4


def cider(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionScore:
    """Compute CIDEr-D of tokenized captions; the corpus value is the mean.

    The weight of an n-gram is its count times ln(N / number of items with it in their references), so **values of a
    subset are not comparable with those of the whole set**, and a single item scores 0.

    Args:
        candidates: Id → tokenized caption.
        references: Id → tokenized references.

    Raises:
        AnnotationError: ids differ, or there are none.
    """
    check_ids(candidates, references)
    counted = {id: [count_ngrams(text.split(), MAX_N) for text in texts] for id, texts in references.items()}
    items = Counter(ngram for texts in counted.values() for ngram in set().union(*texts))
    num_items = math.log(len(references))
    each = {
        id: _score(count_ngrams(candidates[id].split(), MAX_N), texts, items, num_items)
        for id, texts in counted.items()
    }
    return CaptionScore(metric="CIDEr", corpus=sum(each.values()) / len(each), each=each)


def _score(
    candidate: Counter[Ngram], references: Sequence[Counter[Ngram]], items: Counter[Ngram], num_items: float
) -> float:
    weights = _weights(candidate, items, num_items)
    total = 0.0
    for reference in references:
        difference = _num_bigrams(candidate) - _num_bigrams(reference)
        penalty = math.exp(-(difference**2) / (2 * SIGMA**2))
        other = _weights(reference, items, num_items)
        total += penalty * sum(_similarity(*pair) for pair in zip(weights, other, strict=True)) / MAX_N
    return 10.0 * total / len(references)


def _weights(counts: Counter[Ngram], items: Counter[Ngram], num_items: float) -> Weights:
    weights: Weights = [{} for _ in range(MAX_N)]
    for ngram, count in counts.items():
        weights[len(ngram) - 1][ngram] = count * (num_items - math.log(max(1, items[ngram])))
    return weights


def _num_bigrams(counts: Counter[Ngram]) -> int:
    """Return the length of a caption, counted as in the original."""
    return sum(count for ngram, count in counts.items() if len(ngram) == 2)


def _similarity(candidate: Mapping[Ngram, float], reference: Mapping[Ngram, float]) -> float:
    """Compute the cosine similarity, with the candidate's weights clipped to the reference's."""
    product = sum(
        min(weight, reference[ngram]) * reference[ngram] for ngram, weight in candidate.items() if ngram in reference
    )
    norms = math.hypot(*candidate.values()) * math.hypot(*reference.values())
    return product / norms if norms else product
