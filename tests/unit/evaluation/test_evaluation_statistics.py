"""Intervals against textbook figures, exact coverage and brute force; criteria at their edges."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidweave.errors import ShapeError
from vidweave.evaluation.significance import binomial_at_least, binomial_two_sided, holm, holm_adjusted, paired_at_least
from vidweave.evaluation.statistics import (
    at_chance,
    at_least,
    clustered_bootstrap,
    loses_at_most,
    paired_bootstrap,
    wilson,
)


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
    assert 0.99 <= held < 0.994


def test_at_chance_says_value_and_threshold_and_nothing_of_no_data():
    verdict = at_chance(30, 100, 0.25)
    assert (verdict.value, verdict.threshold, verdict.ok) == (0.3, 0.25, True)
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
    verdict = at_least([1.0] * 19 + [0.0], 0.95)
    assert (verdict.value, verdict.threshold, verdict.ok) == (0.95, 0.95, True)
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
        (lambda: at_least([1.0], 0.5, confidence=99), "between 0 and 1, got 99"),
        (lambda: at_chance(1, 2, 0.5, confidence=1.0), "between 0 and 1, got 1.0"),
        (lambda: loses_at_most([1.0], [1.0, 0.0], 0.1), r"equal length.*got \(1,\) and \(2,\)"),
    ],
)
def test_what_cannot_be_computed_is_reported(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


# -- constants and sides, against values computed outside


@pytest.mark.parametrize(
    ("right", "total", "confidence", "low", "high"),
    [  # high-precision arithmetic with z = 1.6448536269514722, 1.959963984540054, 2.5758293035489004
        (7, 23, 0.90, 0.174249, 0.475632),
        (7, 23, 0.95, 0.156040, 0.508658),
        (7, 23, 0.99, 0.126070, 0.570234),
        (190, 220, 0.99, 0.793316, 0.912666),
    ],
)
def test_wilson_at_other_confidences(right, total, confidence, low, high):
    interval = wilson(right, total, confidence)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))


def exact(total: int, share: Fraction) -> list[Fraction]:
    return [math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(total + 1)]


@pytest.mark.parametrize(("total", "share"), [(1, Fraction(1, 2)), (13, Fraction(1, 4)), (30, Fraction(19, 20))])
def test_binomial_p_values_are_those_of_fractions(total, share):
    pmf = exact(total, share)
    for k in range(total + 1):
        lower, upper = float(sum(pmf[: k + 1])), float(sum(pmf[k:]))
        assert binomial_at_least(total, float(share))[k] == pytest.approx(lower, rel=1e-9)
        assert binomial_two_sided(total, float(share))[k] == pytest.approx(min(1, 2 * min(lower, upper)), rel=1e-9)


def test_criteria_look_to_their_own_side_only():
    """ "At least" and "loses at most" never object to more; "at chance" objects to both sides."""
    assert at_least([1.0] * 200, 0.5).p_value == pytest.approx(1.0)
    assert at_least([0.0] * 200, 0.5).p_value < 1e-9
    ours, theirs = [1.0] * 60 + [0.0] * 40, [0.0] * 60 + [1.0] * 40
    assert loses_at_most(ours, theirs, 0.02).p_value > 0.5 > loses_at_most(theirs, ours, 0.02).p_value
    for right in (10, 90):
        assert at_chance(right, 100, 0.5).p_value < 1e-9
    assert at_chance(50, 100, 0.5).p_value == 1.0


@pytest.mark.parametrize(
    ("confidence", "fewest"),
    [
        (0.99, 89),
        (0.95, 91),
    ],  # P(X <= 88) = .0043 and P(X <= 90) = .0282 where X is binomial (100, .95); 89: .0115, 91: .0631
)
def test_at_least_has_all_its_error_on_one_side(confidence, fewest):
    for right in range(101):
        verdict = at_least([1.0] * right + [0.0] * (100 - right), 0.95, confidence=confidence)
        assert verdict.ok is (right >= fewest)


def test_tangos_p_value_is_that_of_a_search_for_the_likeliest_shares():
    for only_ours, only_theirs, total, difference in [
        (3, 9, 100, -0.02),
        (0, 8, 100, -0.02),
        (30, 4, 120, 0.2),
        (5, 5, 40, 0.0),
    ]:
        shares = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_001)[
            1:-1
        ]  # of what theirs alone has right
        ours = shares + difference
        logs = only_theirs * np.log(shares) + (only_ours * np.log(ours) if only_ours else 0.0)
        logs = logs + (total - only_ours - only_theirs) * np.log(1 - shares - ours)
        best = shares[np.argmax(logs)]
        variance = total * (2 * best + difference - difference**2)
        z = (only_ours - only_theirs - total * difference) / math.sqrt(variance)
        expected = 0.5 * math.erfc(-z / math.sqrt(2))
        assert paired_at_least(only_ours, only_theirs, total, difference) == pytest.approx(expected, rel=2e-3)


def test_pairs_without_a_difference_contradict_no_loss_and_every_gain():
    assert paired_at_least(0, 0, 50, 0.0) == 1.0
    assert paired_at_least(0, 0, 50, -0.02) > 0.5
    assert paired_at_least(0, 0, 200, 0.2) < 1e-6


def test_scores_that_are_shares_take_the_bootstrap():
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.4, 0.6, 80)
    assert at_least(scores, 0.45).ok
    assert not at_least(scores, 0.55).ok
    assert loses_at_most(scores - 0.01, scores, 0.02).ok
    assert not loses_at_most(scores - 0.03, scores, 0.02).ok
    assert not loses_at_most(scores + 0.03, scores, -0.05).ok


@pytest.mark.parametrize(
    ("p_values", "alpha", "rejected"),
    [
        ([0.01, 0.04, 0.03, 0.005], 0.05, [True, False, False, True]),  # Holm's steps: .0125, .0167, .025, .05
        ([0.012, 0.013], 0.025, [True, True]),
        ([0.013, 0.013], 0.025, [False, False]),
        ([0.5, 0.0001, 0.5], 0.01, [False, True, False]),
        ([], 0.01, []),
    ],
)
def test_holm(p_values, alpha, rejected):
    assert holm(p_values, alpha) == rejected


def test_power_is_the_share_of_rejections():
    pmf, alpha = exact(120, Fraction(7, 20)), 0.002
    rejected = [k for k in range(121) if at_chance(k, 120, 0.25).p_value <= alpha]
    assert at_chance(30, 120, 0.25).power(alpha) == pytest.approx(float(sum(pmf[k] for k in rejected)), rel=1e-9)
    pmf = exact(120, Fraction(17, 20))
    rejected = [k for k in range(121) if at_least([1.0] * k + [0.0] * (120 - k), 0.95).p_value <= alpha]
    assert at_least([1.0] * 120, 0.95).power(alpha) == pytest.approx(float(sum(pmf[k] for k in rejected)), rel=1e-9)


def test_power_of_pairs_is_about_the_share_of_rejections():
    rng, total, alpha = np.random.default_rng(2), 300, 0.002
    draws = rng.multinomial(total, [0.03, 0.15, 0.82], size=4000)
    p_values = [paired_at_least(int(ours), int(theirs), total, -0.02) for ours, theirs, _ in draws]
    shown = loses_at_most([1.0] * 9 + [0.0] * 291, [0.0] * 300, 0.02).power(alpha)
    assert shown == pytest.approx(np.mean(np.array(p_values) <= alpha), abs=0.05)


def test_questions_about_one_video_stand_together():
    """Twenty answers that are copies of four say no more than four; apart, they seem to say more."""
    scores, videos = [1.0, 0.0, 1.0, 1.0] * 5, ["a", "b", "c", "d"] * 5
    together = clustered_bootstrap(scores, videos)
    apart = clustered_bootstrap(scores, [str(i) for i in range(20)])
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert clustered_bootstrap([1.0] * 7, ["a"] * 7) == clustered_bootstrap([1.0] * 7, [*"abcdefg"])
    assert apart == clustered_bootstrap(scores, [str(i) for i in range(20)])  # the same seed
    with pytest.raises(ShapeError, match="every score needs a cluster, got 4 scores and 3 clusters"):
        clustered_bootstrap(scores[:4], videos[:3])


def test_a_bootstrap_of_single_items_is_that_of_pairs():
    scores = np.random.default_rng(2).integers(0, 2, 57).astype(float)
    one, other = clustered_bootstrap(scores, [str(i) for i in range(57)]), paired_bootstrap(scores, 0.0)
    assert abs(one.low - other.low) < 0.02
    assert abs(one.high - other.high) < 0.02


def test_holms_adjusted_p_values() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand
    assert holm_adjusted([0.5, 0.4]) == [0.8, 0.8]
    assert holm_adjusted([]) == []


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.5))
def test_adjusted_p_values_decide_as_holms_method(p_values, alpha) -> None:
    adjusted = holm_adjusted(p_values)
    for value, is_rejected in zip(adjusted, holm(p_values, alpha), strict=True):
        assert (value <= alpha) == is_rejected or value == pytest.approx(alpha)
