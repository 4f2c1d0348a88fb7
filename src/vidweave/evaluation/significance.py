"""P-values of hypotheses about accuracies, Holm's correction for several hypotheses, and the power of each test.

A small p-value means that the data contradict the hypothesis.
"""

# Axes: N items; counts run from 0 to N

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np

__all__ = [
    "binomial_at_least",
    "binomial_pmf",
    "binomial_two_sided",
    "holm",
    "holm_adjusted",
    "paired_at_least",
    "paired_power",
    "power_at_chance",
    "power_at_least",
]

_NORMAL = NormalDist()


@lru_cache(maxsize=512)
def binomial_pmf(total: int, share: float) -> np.ndarray:
    """Compute the probability (N + 1,) of each number of successes in `total` trials."""
    counts = np.arange(total + 1)
    if share in (0.0, 1.0):
        return (counts == total * share).astype(np.float64)
    logs = np.array([math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in counts])
    return np.exp(logs + counts * math.log(share) + (total - counts) * math.log1p(-share))


@lru_cache(maxsize=512)
def binomial_at_least(total: int, share: float) -> np.ndarray:
    """Compute the p-values (N + 1,) of "the proportion is at least `share`", one per number of successes: P(X <= k)."""
    return np.minimum(1.0, np.cumsum(binomial_pmf(total, share)))


@lru_cache(maxsize=512)
def binomial_two_sided(total: int, share: float) -> np.ndarray:
    """Compute the p-values (N + 1,) of "the proportion is `share`": twice the smaller tail."""
    lower = np.cumsum(binomial_pmf(total, share))
    upper = np.cumsum(binomial_pmf(total, share)[::-1])[::-1]
    return np.minimum(1.0, 2 * np.minimum(lower, upper))


def paired_at_least(only_ours: int, only_theirs: int, total: int, difference: float) -> float:
    """Compute the p-value of "our accuracy minus theirs is at least `difference`" from the discordant items.

    Source: Tango 1998, Stat. Med. 17, 891-908: the score test, with the maximum-likelihood variance under the hypothesis.
    """
    z = _tango(only_ours, only_theirs, total, difference)
    return _NORMAL.cdf(z)


def _tango(only_ours: float, only_theirs: float, total: int, difference: float) -> float:
    excess = only_ours - only_theirs - total * difference
    variance = _null_variance(only_ours, only_theirs, total, difference)
    if variance <= 0:
        return math.inf if excess >= 0 else -math.inf
    return excess / math.sqrt(variance)


def _null_variance(only_ours: float, only_theirs: float, total: int, difference: float) -> float:
    """Variance of the number of ours minus theirs if the proportions differ by exactly `difference`."""
    a, c = 2 * total, -only_theirs * difference * (1 - difference)
    b = -only_ours - only_theirs + (2 * total - only_ours + only_theirs) * difference
    theirs = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    return total * (2 * theirs + difference * (1 - difference))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses are rejected at a family-wise error rate of at most `alpha`.

    Source: Holm 1979, Scand. J. Stat. 6, 65-70.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: a hypothesis is rejected at family-wise error rate `alpha` if its value is at most
    `alpha`.

    Source: Holm 1979, Scand. J. Stat. 6, 65-70; adjusted values as in Wright 1992, Biometrics 48, 1005-1013.
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def power_at_chance(total: int, chance: float, share: float, alpha: float) -> float:
    """Compute the power of `binomial_two_sided` at level `alpha` if the true proportion is `share`."""
    return float(binomial_pmf(total, share)[binomial_two_sided(total, chance) <= alpha].sum())


def power_at_least(total: int, threshold: float, share: float, alpha: float) -> float:
    """Compute the power of `binomial_at_least` at level `alpha` if the true proportion is `share`."""
    return float(binomial_pmf(total, share)[binomial_at_least(total, threshold) <= alpha].sum())


def paired_power(total: int, only_ours: float, difference: float, actual: float, alpha: float) -> float:
    """Compute the power of `paired_at_least` at level `alpha` if the true difference is `actual` (normal approximation).

    Args:
        only_ours: Fraction of items that only ours answers correctly.
    """
    ours = min(max(only_ours, actual, 0.0), (1 + actual) / 2)
    theirs = ours - actual
    spread = math.sqrt(max(total * (ours + theirs - actual**2), 1e-12))
    null = math.sqrt(max(0.0, _null_variance(ours * total, theirs * total, total, difference)))
    return _NORMAL.cdf((_NORMAL.inv_cdf(alpha) * null + total * (difference - actual)) / spread)
