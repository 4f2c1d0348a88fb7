"""Intervals against textbook figures, exact coverage and brute force; criteria at their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidweave.errors import ShapeError
from vidweave.evaluation.statistics import at_chance, at_least, loses_at_most, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "total", "confidence", "low", "high"),
    [
        # Newcombe 1998, Stat. Med. 17, table I, method 3
        (81, 263, 0.95, 0.2553, 0.3662),
        (15, 148, 0.95, 0.0624, 0.1605),
        (0, 20, 0.95, 0.0000, 0.1611),
        (1, 29, 0.95, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_published_figures(successes, total, confidence, low, high):
    interval = wilson(successes, total, confidence)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 0.999))
def test_wilson_holds_the_share_mirrors_and_widens(right, wrong, confidence):
    total = right + wrong
    interval, mirror = wilson(right, total, confidence), wilson(wrong, total, confidence)
    assert 0 <= interval.low <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirror.high, abs=1e-12)
    if total:
        assert right / total in interval
        wider = wilson(right, total, (1 + confidence) / 2)
        assert wider.low <= interval.low
        assert interval.high <= wider.high
    else:
        assert (interval.low, interval.high) == (0, 1)


@pytest.mark.parametrize("chance", [0.25, 1 / 3, 0.5])
def test_guessing_is_at_chance_as_often_as_promised(chance):
    n = 300
    weights = [math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(n + 1)]
    held = sum(w for k, w in enumerate(weights) if at_chance(k, n, chance).ok)
    assert 0.987 < held < 0.993


def test_at_chance_says_value_and_threshold_and_nothing_of_no_data():
    assert at_chance(30, 100, 0.25).__dict__ == {"value": 0.3, "threshold": 0.25, "ok": True}
    assert not at_chance(50, 100, 0.25).ok
    assert not at_chance(5, 100, 0.25).ok  # worse than guessing is knowledge, too
    assert not at_chance(0, 0, 0.25).ok


def test_the_bootstrap_agrees_with_drawing_items_one_by_one():
    rng = np.random.default_rng(3)
    ours, theirs = rng.random(37) < 0.8, rng.random(37) < 0.6
    difference = ours.astype(float) - theirs
    means = difference[rng.integers(37, size=(20_000, 37))].mean(1)
    low, high = np.quantile(means, [0.005, 0.995])
    interval = paired_bootstrap(ours, theirs, 0.99, resamples=20_000)
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.03)
    assert interval.low <= difference.mean() <= interval.high


def test_the_bootstrap_is_paired_and_repeats_itself():
    ours = [1.0, 0.0] * 50
    assert paired_bootstrap(ours, ours).__dict__ == {"low": 0.0, "high": 0.0}
    assert paired_bootstrap(ours, ours[1:] + ours[:1]).low < -0.2
    again = [paired_bootstrap(ours, 0.3, seed=5) for _ in range(2)]
    assert again[0] == again[1] != paired_bootstrap(ours, 0.3, seed=6)


def test_at_least_is_rejected_only_by_enough_data():
    assert at_least([1.0] * 19 + [0.0], 0.95).__dict__ == {"value": 0.95, "threshold": 0.95, "ok": True}
    assert at_least([1.0] * 18 + [0.0] * 2, 0.95).ok  # 90% of 20 does not rule 95% out
    assert not at_least([1.0] * 900 + [0.0] * 100, 0.95).ok  # 90% of 1000 does
    assert at_least([1.0] * 940 + [0.0] * 60, 0.95).ok
    assert not at_least([0.0] * 5, 0.95).ok
    assert at_least([1.0] * 5, 1.0).ok


def test_loses_at_most_allows_its_loss_and_counts_pairs():
    theirs = [1.0] * 1000
    for lost, ok in [(0, True), (20, True), (30, True), (40, False)]:
        verdict = loses_at_most([0.0] * lost + [1.0] * (1000 - lost), theirs, 0.02)
        assert (verdict.value, verdict.threshold, verdict.ok) == (pytest.approx(-lost / 1000), -0.02, ok)
    assert loses_at_most(theirs, [0.0] * 1000, 0.0).ok  # winning is no loss


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(3, 2), "within 0..total, got 3 of 2"),
        (lambda: wilson(1, 2, 95), "between 0 and 1, got 95; 0.99 means 99%"),
        (lambda: paired_bootstrap([], []), r"N >= 1, got \(0,\) and \(0,\)"),
        (lambda: paired_bootstrap([1.0, 0.0], [1.0]), r"equal length.*got \(2,\) and \(1,\)"),
        (lambda: at_least([], 0.5), "N >= 1"),
    ],
)
def test_what_cannot_be_computed_is_said(call, message):
    with pytest.raises(ShapeError, match=message):
        call()
