"""Word overlap of a generated text with an expected one."""

from __future__ import annotations

from collections import Counter

__all__ = ["token_f1", "unigram_recall"]

_IGNORED = {",", "."}


def unigram_recall(expected: str, given: str) -> float:
    """Compute the fraction of the words of `expected` that occur in `given`, 0..1 (VideoTGB's score of single frames).

    Words are split at whitespace and case-sensitive. Repeated words count each time; standalone commas and periods are
    ignored.
    """
    words, there = [word for word in expected.split() if word not in _IGNORED], set(given.split())
    return sum(word in there for word in words) / len(words) if words else 0.0


def token_f1(expected: str, given: str) -> float:
    """Compute the harmonic mean of word precision and recall, counting repeated words."""
    expected_words, given_words = Counter(expected.split()), Counter(given.split())
    shared = (expected_words & given_words).total()
    return 2 * shared / (expected_words.total() + given_words.total()) if shared else 0.0
