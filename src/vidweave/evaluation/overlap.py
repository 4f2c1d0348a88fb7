"""How much of an expected text stands in another one, word by word."""

from __future__ import annotations

from collections import Counter

__all__ = ["token_f1", "unigram_recall"]

_IGNORED = {",", "."}


def unigram_recall(expected: str, given: str) -> float:
    """Share of the words of `expected` that `given` holds, 0..1: split at spaces, upper case matters, repeated words
    count each time, lone commas and full stops do not (VideoTGB's score of single pictures)."""
    words, there = [word for word in expected.split() if word not in _IGNORED], set(given.split())
    return sum(word in there for word in words) / len(words) if words else 0.0


def token_f1(expected: str, given: str) -> float:
    """Harmonic mean of precision and recall of words, each counted as often as it stands there."""
    wanted, found = Counter(expected.split()), Counter(given.split())
    shared = (wanted & found).total()
    return 2 * shared / (wanted.total() + found.total()) if shared else 0.0
