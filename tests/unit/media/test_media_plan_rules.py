"""Frame rules against exact arithmetic, ties and rounding included: fractions instead of floats, tables by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest

from vidweave.media.plan import plan_frames, segment_borders, spread
from vidweave.types import FrameNeed

COUNTS = [1, 3, 4, 7, 16, 31, 60]
AVAILABLE = [*range(1, 42), 64, 84, 96, 1687]


def half_even(value):
    whole, rest = divmod(value, 1)
    return int(whole + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2)))


def at(i, count, available):
    """Point i of linspace(0, available - 1, count), exactly."""
    return Fraction(i * (available - 1), max(1, count - 1))


# What the systems state, as exact formulas: MA-LMM rounds half to even, MERV cuts off, CREMA and VideoTGB take the middle
# of whole-numbered borders, transformers' floor, and the middle of equal parts.
RULES = {
    "linspace": lambda i, c, n: half_even(at(i, c, n)),
    "truncate": lambda i, c, n: math.floor(at(i, c, n)),
    "borders": lambda i, c, n: (i * n // c + (i + 1) * n // c) // 2,
    "floor": lambda i, c, n: i * n // c,
    "midpoint": lambda i, c, n: math.floor(Fraction(2 * i + 1, 2) * n / c),
}


# Where the least error of a float changes the result.
BORDERLINE = {
    "linspace": lambda i, step: (i * step).denominator == 2,
    "truncate": lambda i, step: (i * step).denominator == 1,
    "borders": lambda i, step: 1 in ((i * step).denominator, ((i + 1) * step).denominator),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_exact_for_every_size(rule):
    """Where the originals' floats land a hair beside a tie or a whole number, so do ours: one frame off is right there."""
    ties = 0
    for count in COUNTS:
        for available in AVAILABLE:
            parts = count if rule == "borders" else max(1, count - 1)
            step = Fraction(available if rule == "borders" else available - 1, parts)
            is_exact = step.denominator.bit_count() == 1  # a power of two: floats have no error
            got = spread(count, available, rule).tolist()
            for i in range(count):
                is_tie = BORDERLINE.get(rule, lambda i, step: False)(i, step)
                allowed = 1 if is_tie and not is_exact else 0
                assert abs(got[i] - RULES[rule](i, count, available)) <= allowed, (count, available, i)
                ties += is_tie and is_exact
    assert ties > 50 or rule not in BORDERLINE


@pytest.mark.parametrize(
    ("rule", "count", "available", "expected"),
    [
        # ties of linspace: 0.5 → 0, 1.5 → 2, 2.5 → 2, 3.5 → 4, 4.5 → 4
        ("linspace", 11, 6, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]),
        ("linspace", 3, 6, [0, 2, 5]),
        ("linspace", 3, 8, [0, 4, 7]),
        ("linspace", 1, 9, [0]),
        ("truncate", 3, 8, [0, 3, 7]),
        ("truncate", 4, 9, [0, 2, 5, 8]),
        ("borders", 4, 10, [1, 3, 6, 8]),
        ("borders", 3, 8, [1, 3, 6]),
        ("borders", 4, 3, [0, 0, 1, 2]),
        ("floor", 3, 8, [0, 2, 5]),
        ("midpoint", 3, 8, [1, 4, 6]),
        ("midpoint", 4, 10, [1, 3, 6, 8]),
        ("midpoint", 5, 3, [0, 0, 1, 2, 2]),
    ],
)
def test_rules_by_hand(rule, count, available, expected):
    assert spread(count, available, rule).tolist() == expected


def test_borders_of_segments_are_cut_off():
    assert segment_borders(0, 10, 4).tolist() == [0, 2, 5, 7, 10]
    assert segment_borders(3, 14, 4).tolist() == [3, 5, 8, 11, 14]


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
@pytest.mark.parametrize("step", [2, 3, 5])
def test_at_a_whole_share_of_the_rate_every_nth_frame_is_taken(rate, step):
    """Times like 0.30000000000000004 must not pick the frame before or one frame more."""
    times = np.arange(7 * rate) / rate
    plan = plan_frames({"a": FrameNeed(fps=rate / step)}, times, 7.0)
    assert plan.indices.tolist() == list(range(0, 7 * rate, step))
    shifted = plan_frames({"a": FrameNeed(fps=rate / step)}, np.round(times, 3), 7.0)  # a clock of milliseconds
    late = shifted.indices - plan.indices
    assert ((late == 0) | (late == -1)).all()


@pytest.mark.parametrize(
    ("duration", "fps", "count"), [(2.0, 5.0, 10), (2.05, 5.0, 11), (0.1 * 3, 10.0, 3), (1.1, 10.0, 11), (0.01, 1.0, 1)]
)
def test_number_of_frames_at_a_rate(duration, fps, count):
    times = np.arange(0.0, duration, 0.01)
    plan = plan_frames({"a": FrameNeed(fps=fps)}, times, duration)
    assert len(plan.streams["a"]) == count


TIMES = np.array([0.0, 0.5, 1.5, 2.0, 4.0, 5.0, 5.25])  # no two gaps in a row are equal


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [(0.25, 0), (0.26, 1), (1.0, 1), (1.01, 2), (3.0, 3), (3.01, 4), (-9.0, 0), (99.0, 6), (4.5, 4), (5.125, 5)],
)
def test_the_nearest_frame_is_the_earlier_one_of_two(timestamp, expected):
    plan = plan_frames({"a": FrameNeed(num_frames=1)}, TIMES, 5.5, timestamps=[timestamp])
    assert plan.indices.tolist() == [expected]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.5, 2.0), [1, 2]),  # the start belongs to the span, the end does not
        ((0.5000001, 2.0000001), [2, 3]),
        ((2.0, 4.0), [3]),
        ((2.5, 3.5), [3]),  # the one on show
        ((5.25, 9.0), [6]),
        ((5.4, 9.0), [6]),
    ],
)
def test_borders_of_spans(span, expected):
    assert plan_frames({"a": FrameNeed()}, TIMES, 5.5, span=span).indices.tolist() == expected


@pytest.mark.parametrize(("end", "is_noted"), [(5.5, False), (6.0, False), (6.01, True)])
def test_a_span_may_end_half_a_second_late(end, is_noted):
    plan = plan_frames({"a": FrameNeed()}, TIMES, 5.5, span=(0.0, end))
    assert any("after the clip" in note for note in plan.notes) == is_noted


@pytest.mark.parametrize(
    ("window", "timestamp", "expected"),
    [
        (2, 2.0, [3, 4]),
        (3, 2.0, [2, 3, 4]),
        (4, 2.0, [2, 3, 4, 5]),
        (3, 0.0, [0, 1, 2]),
        (3, 9.0, [4, 5, 6]),
        (4, 5.0, [3, 4, 5, 6]),
    ],
)
def test_windows_lie_around_their_moment(window, timestamp, expected):
    plan = plan_frames({"a": FrameNeed(num_frames=window, window=window)}, TIMES, 5.5, timestamps=[timestamp])
    assert plan.indices[plan.streams["a"]].tolist() == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [2]), (2, [1, 3]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]), (7, [0, 1, 1, 2, 3, 3, 4])]
)
def test_timestamps_are_thinned_or_repeated_evenly(count, expected):
    timestamps = [10.0, 20.0, 40.0, 50.0, 90.0]
    plan = plan_frames({"a": FrameNeed(num_frames=count)}, np.array([0.0, *timestamps]), 100.0, timestamps=timestamps)
    assert (plan.indices[plan.streams["a"]] - 1).tolist() == expected


@pytest.mark.parametrize(("stride", "expected"), [(2, [0, 2, 5, 7]), (3, [0, 2, 4, 7])])
def test_strides_thin_out_a_denser_row(stride, expected):
    need = FrameNeed(num_frames=4, stride=stride, rule="truncate")
    plan = plan_frames({"a": need}, np.arange(10) / 7, 10 / 7)
    assert plan.indices[plan.streams["a"]].tolist() == expected
    dense = [math.floor(at(i, 4 * stride, 10)) for i in range(4 * stride)]
    assert dense[::stride] == expected


@pytest.mark.parametrize(
    ("span", "expected"),
    [(None, [0, 9, 18, 27, 36]), ((2.0, 5.0), [10, 12, 14, 16, 18]), ((2.0, 2.6), [10, 10, 10, 10, 10])],
)
def test_clips_of_one_second_leave_out_the_end(span, expected):
    """OneLLM: five clips of a second each; of 10 s the last 1.8 s are never seen."""
    need = FrameNeed(num_frames=5, window=5, rule="clip_starts")
    plan = plan_frames({"video": need}, np.arange(50) / 5, 10.0, span=span)
    assert plan.indices[plan.streams["video"]].tolist() == expected
