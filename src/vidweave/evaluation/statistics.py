"""Confidence intervals (Wilson, paired bootstrap) and three criteria with their p-values and power.

A criterion tests whether the data reject a hypothesis; it never proves it. The point estimate is always returned.
"""

# Axes: N items, R resamples

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from vidweave.errors import ShapeError
from vidweave.evaluation.significance import (
    binomial_at_least,
    binomial_two_sided,
    paired_at_least,
    paired_power,
    power_at_chance,
    power_at_least,
)

__all__ = [
    "EFFECT",
    "Interval",
    "Verdict",
    "at_chance",
    "at_least",
    "clustered_bootstrap",
    "loses_at_most",
    "paired_bootstrap",
    "wilson",
]

CONFIDENCE = 0.99
RESAMPLES = 10_000
EFFECT = 0.10
"""Effect size at which the power of a criterion is stated."""


@dataclass(frozen=True)
class Interval:
    """Interval from `low` to `high`, ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of a criterion.

    Attributes:
        value: The measured value.
        threshold: The value that it is compared with.
        ok: Whether the criterion is not rejected at the requested confidence.
        p_value: Probability of data at least as far from the criterion if it holds.
        power: Significance level → probability of rejection if the true value is off by `EFFECT`.
    """

    value: float
    threshold: float
    ok: bool
    p_value: float
    power: Callable[[float], float] = field(repr=False, compare=False)


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a proportion; (0, 1) without trials.

    Raises:
        ShapeError: `successes` is not within 0..total, or `confidence` is not between 0 and 1.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    if not 0 <= successes <= total:
        raise ShapeError(f"successes must be within 0..total, got {successes} of {total}")
    _check_confidence(confidence)
    if not total:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt((share * (1 - share) + weight / 4) / total) / (1 + weight)
    # Exact ends where rounding could miss them
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == total else min(1.0, middle + half)
    return Interval(low, high)


def paired_bootstrap(
    ours: Sequence[float] | np.ndarray,
    theirs: Sequence[float] | np.ndarray | float,
    confidence: float = CONFIDENCE,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Compute the percentile interval of the mean of `ours` - `theirs`, resampling pairs of items.

    Args:
        ours, theirs: Scores (N,) of the same items in the same order; `theirs` may be one number for all.
        confidence: Fraction of resampled means within the interval, e.g. 0.99 leaves half a percent on each side.
        resamples: Number R of resamples.
        seed: Seed of the generator; the same data give the same interval.

    Raises:
        ShapeError: There are no items, or the scores do not pair up.

    Source: Efron & Tibshirani 1993, chapter 13. The counts of distinct differences are sampled from a multinomial
    distribution, which is equivalent to resampling items, in O(R * number of distinct differences).
    """
    _check_confidence(confidence)
    means = _resampled_means(ours, theirs, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def clustered_bootstrap(
    scores: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    confidence: float = CONFIDENCE,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Compute the percentile interval of the mean of `scores`, resampling whole clusters (questions about one video).

    Args:
        scores: Scores (N,).
        clusters: Cluster (N,) of each score, such as its video.

    Raises:
        ShapeError: There are no items, or the numbers of clusters and scores differ.

    Source: Field & Welsh 2007, "Bootstrapping clustered data", the cluster bootstrap.
    """
    _check_confidence(confidence)
    scores = _paired(scores, 0.0)[0]
    if len(clusters) != scores.size:
        raise ShapeError(f"every score needs a cluster, got {scores.size} scores and {len(clusters)} clusters")
    place = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([place[name] for name in clusters])
    sums, sizes = np.bincount(index, weights=scores), np.bincount(index)
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(place), counts / len(place), size=resamples)
    low, high = np.quantile((draws @ kinds[:, 0]) / (draws @ kinds[:, 1]), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def at_chance(successes: int, total: int, chance: float, *, confidence: float = CONFIDENCE) -> Verdict:
    """Test for chance level: an exact two-sided binomial test does not reject `chance`, the best constant answer's accuracy."""
    _check_confidence(confidence)
    p_value = float(binomial_two_sided(total, chance)[successes]) if total else 0.0
    return Verdict(
        value=successes / total if total else math.nan,
        threshold=chance,
        ok=p_value > 1 - confidence,
        p_value=p_value,
        power=lambda alpha: power_at_chance(total, chance, min(1.0, chance + EFFECT), alpha),
    )


def at_least(
    scores: Sequence[float] | np.ndarray, threshold: float, *, confidence: float = CONFIDENCE, seed: int = 0
) -> Verdict:
    """Test mean score >= `threshold`: by an exact one-sided binomial test for scores of 0 and 1, else by the bootstrap."""
    _check_confidence(confidence)
    scores = _paired(scores, threshold)[0]
    if _is_binary(scores):
        p_value = float(binomial_at_least(scores.size, threshold)[int(scores.sum())])
    else:
        means = _resampled_means(scores, threshold, RESAMPLES, seed)
        p_value = float(np.mean(np.append(means, 0.0) >= -_ROUNDING))
    return Verdict(
        value=float(np.mean(scores)),
        threshold=threshold,
        ok=p_value > 1 - confidence,
        p_value=p_value,
        power=lambda alpha: power_at_least(scores.size, threshold, max(0.0, threshold - EFFECT), alpha),
    )


def loses_at_most(
    ours: Sequence[float] | np.ndarray,
    theirs: Sequence[float] | np.ndarray,
    loss: float,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Verdict:
    """Test that `ours` is at most `loss` (a fraction, 0.02 for two points) below `theirs`, with a one-sided paired test.

    A negative loss requires a gain of that size. Scores of 0 and 1 use Tango's score test, others the bootstrap. The
    verdict's value is the mean difference, its threshold is -`loss`.
    """
    _check_confidence(confidence)
    ours, theirs = _paired(ours, theirs)
    only_ours, only_theirs = int(np.sum(ours > theirs)), int(np.sum(ours < theirs))
    if _is_binary(ours) and _is_binary(theirs):
        p_value = paired_at_least(only_ours, only_theirs, ours.size, -loss)
    else:
        means = _resampled_means(ours, theirs, RESAMPLES, seed)
        p_value = float(np.mean(np.append(means, -loss) >= -loss - _ROUNDING))
    return Verdict(
        value=float(np.mean(ours - theirs)),
        threshold=-loss,
        ok=p_value > 1 - confidence,
        p_value=p_value,
        power=lambda alpha: paired_power(ours.size, only_ours / ours.size, -loss, -loss - EFFECT, alpha),
    )


def _is_binary(scores: np.ndarray) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


_ROUNDING = 1e-12  # sums of products of shares, e.g. 0.95 * 20 / 20 - 0.95


def _paired(ours, theirs) -> tuple[np.ndarray, np.ndarray]:
    """Convert both to arrays (N,); `theirs` is () if it is one number for all."""
    ours = np.asarray(ours, dtype=np.float64)
    theirs = np.asarray(theirs, dtype=np.float64)
    if ours.ndim != 1 or not ours.size or theirs.shape not in ((), ours.shape):
        raise ShapeError(
            f"a comparison needs two score lists (N,) of equal length, N >= 1, got {ours.shape} and {theirs.shape}"
        )
    return ours, theirs


def _resampled_means(ours, theirs, resamples: int, seed: int) -> np.ndarray:
    """Compute the means (R,) of resampled differences."""
    ours, theirs = _paired(ours, theirs)
    values, counts = np.unique(ours - theirs, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(ours.size, counts / ours.size, size=resamples)
    return draws @ values / ours.size


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ShapeError(f"confidence must lie between 0 and 1, got {confidence}; 0.99 means 99%")
