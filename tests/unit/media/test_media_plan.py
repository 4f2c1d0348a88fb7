"""Plans: pure, complete, in order of time, whatever is asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidweave.errors import ConfigError, MediaError, MediaLimitError, ShapeError
from vidweave.media.plan import plan_frames, spread
from vidweave.types import FrameNeed


def times(count, fps=10.0):
    return np.arange(count) / fps


def picked(plan, name):
    return plan.indices[plan.streams[name]]


needs = st.builds(
    lambda kind, size, window, follow, rule: FrameNeed(
        num_frames=size * window if kind == "count" else None,
        fps=size * 0.7 if kind == "fps" else None,
        window=window,
        follow_selection=follow,
        rule=rule,
        max_frames=10_000,
    ),
    st.sampled_from(["count", "fps", "all"]),
    st.integers(1, 40),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["midpoint", "linspace", "floor"]),
)


@settings(max_examples=200, deadline=None)
@given(
    requested=st.dictionaries(st.sampled_from(["a", "b", "c"]), needs, min_size=1),
    gaps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60),
    span=st.none() | st.tuples(st.floats(0, 0.9), st.floats(0.01, 2.0)),
    timestamps=st.none() | st.lists(st.floats(-5, 200), min_size=1, max_size=9),
)
def test_any_plan_is_valid(requested, gaps, span, timestamps):
    pts = np.cumsum(gaps)
    duration = float(pts[-1] + 0.1)
    borders = None if span is None else (span[0] * duration, span[0] * duration + span[1] * duration)
    plan = plan_frames(requested, pts, duration, span=borders, timestamps=timestamps)
    assert (np.diff(plan.indices) > 0).all()
    assert plan.indices.min() >= 0
    assert plan.indices.max() < len(pts)
    used = np.unique(np.concatenate(list(plan.streams.values())))
    assert used.tolist() == list(range(len(plan.indices)))  # nothing is decoded for nobody
    for name, need in requested.items():
        got = picked(plan, name)
        assert len(got) % need.window == 0
        assert len(got) >= need.window
        if need.num_frames is not None:
            assert len(got) == need.num_frames
        assert (np.diff(pts[got].reshape(-1, need.window)[:, 0]) >= 0).all()
        if borders is not None and ((pts >= borders[0]) & (pts < borders[1])).any():
            assert (pts[got] >= borders[0]).all()
            assert (pts[got] < borders[1]).all()
    again = plan_frames(requested, pts, duration, span=borders, timestamps=timestamps)
    assert again.indices.tolist() == plan.indices.tolist()


@given(
    count=st.integers(1, 200), available=st.integers(1, 5_000), rule=st.sampled_from(["midpoint", "linspace", "floor"])
)
def test_spread_is_even_and_inside(count, available, rule):
    got = spread(count, available, rule)
    assert len(got) == count
    assert got[0] >= 0
    assert got[-1] < available
    steps = np.diff(got)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    if count <= available:
        assert len(np.unique(got)) == count


def test_the_three_rules():
    assert spread(4, 100, "midpoint").tolist() == [12, 37, 62, 87]
    assert spread(8, 1687, "floor").tolist() == [0, 210, 421, 632, 843, 1054, 1265, 1476]
    assert spread(5, 10, "linspace").tolist() == [0, 2, 4, 7, 9]  # 4.5 rounds to the even 4


def test_one_decode_serves_every_stream():
    plan = plan_frames({"a": FrameNeed(num_frames=4), "b": FrameNeed(num_frames=8)}, times(80), 8.0)
    assert picked(plan, "a").tolist() == [10, 30, 50, 70]
    assert picked(plan, "b").tolist() == [5, 15, 25, 35, 45, 55, 65, 75]
    assert len(plan.indices) == 12
    assert plan.why == "uniform"
    assert plan.notes == []


def test_more_than_exist_repeats_and_says_so():
    plan = plan_frames({"a": FrameNeed(num_frames=8)}, times(3), 0.3)
    assert picked(plan, "a").tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert plan.notes == ["a: 8 frames were requested, 3 are available; 3 are used, some twice"]


def test_one_frame_serves_any_need():
    for need in (FrameNeed(num_frames=6, window=2), FrameNeed(fps=2.0), FrameNeed(), FrameNeed(window=4)):
        plan = plan_frames({"a": need}, np.zeros(1), 0.0)
        assert set(picked(plan, "a").tolist()) == {0}


def test_at_a_rate():
    plan = plan_frames({"a": FrameNeed(fps=2.0)}, times(80, fps=16), 5.0)
    assert picked(plan, "a").tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 64, 72]
    assert plan.why == "fps"
    late = plan_frames({"a": FrameNeed(fps=1.0)}, np.array([0.0, 0.9, 1.1, 3.7]), 4.0)
    assert picked(late, "a").tolist() == [0, 1, 2, 2]  # the frame on show at 0, 1, 2 and 3 s
    assert late.notes


def test_in_a_span():
    plan = plan_frames({"a": FrameNeed(num_frames=2), "b": FrameNeed()}, times(80), 8.0, span=(2.0, 4.0))
    assert picked(plan, "a").tolist() == [25, 35]
    assert picked(plan, "b").tolist() == list(range(20, 40))
    open_end = plan_frames({"a": FrameNeed(num_frames=2)}, times(80), 8.0, span=(6.0, float("inf")))
    assert picked(open_end, "a").tolist() == [65, 75]
    assert open_end.notes == []


def test_a_span_between_two_frames_takes_the_one_on_show():
    plan = plan_frames({"a": FrameNeed(num_frames=1)}, np.array([0.0, 5.0]), 10.0, span=(2.0, 3.0))
    assert picked(plan, "a").tolist() == [0]
    assert "no frame starts within" in plan.notes[0]


def test_a_span_past_the_end_is_reported():
    plan = plan_frames({"a": FrameNeed(num_frames=1)}, times(80), 8.0, span=(6.0, 30.0))
    assert "after the clip (8.000 s)" in plan.notes[0]


def test_timestamps():
    needs = {
        "near": FrameNeed(num_frames=3),
        "groups": FrameNeed(num_frames=9, window=3),
        "free": FrameNeed(num_frames=2, follow_selection=False),
        "more": FrameNeed(num_frames=6),
        "every": FrameNeed(),
    }
    plan = plan_frames(needs, times(80), 8.0, timestamps=np.array([7.94, 1.01, 4.04]))
    assert picked(plan, "near").tolist() == [10, 40, 79]
    assert picked(plan, "groups").tolist() == [9, 10, 11, 39, 40, 41, 77, 78, 79]
    assert picked(plan, "free").tolist() == [20, 60]
    assert picked(plan, "more").tolist() == [10, 10, 40, 40, 79, 79]
    assert picked(plan, "every").tolist() == [10, 40, 79]
    assert plan.why == "selected + uniform"


def test_segments_are_filled_with_the_last_frame():
    plan = plan_frames({"a": FrameNeed(window=4)}, times(6), 0.6)
    assert picked(plan, "a").tolist() == [0, 1, 2, 3, 4, 5, 5, 5]
    assert plan.notes == ["a: the last frame is repeated 2 times to fill the last segment"]


def test_too_many_names_the_setting():
    for need in (FrameNeed(max_frames=79), FrameNeed(fps=100.0, max_frames=700)):
        with pytest.raises(MediaLimitError, match=r"raise FrameNeed\.max_frames"):
            plan_frames({"a": need}, times(80), 8.0)


@pytest.mark.parametrize(
    ("span", "message"),
    [((9.0, 10.0), "starts at 9.0 s, but the clip ends at 8.000 s"), ((3.0, 2.0), "before it starts")],
)
def test_impossible_spans(span, message):
    with pytest.raises(MediaError, match=message):
        plan_frames({"a": FrameNeed(num_frames=1)}, times(80), 8.0, span=span)


@pytest.mark.parametrize("bad", [np.zeros(0), np.array([1.0, 0.5]), np.array([0.0, np.nan]), np.zeros((2, 2))])
def test_impossible_times(bad):
    with pytest.raises(ShapeError, match="pts_seconds must be"):
        plan_frames({"a": FrameNeed(num_frames=1)}, bad, 1.0)


@pytest.mark.parametrize("bad", [[], [np.nan], [[1.0]]])
def test_impossible_timestamps(bad):
    with pytest.raises(ShapeError, match="timestamps must be"):
        plan_frames({"a": FrameNeed(num_frames=1)}, times(3), 1.0, timestamps=bad)


def test_strides_see_the_same_timestamps():
    """An encoder of 16 frames sees every second one of an encoder of 32; one decode serves both."""
    dense, thin = FrameNeed(num_frames=32, rule="truncate"), FrameNeed(num_frames=16, rule="truncate", stride=2)
    plan = plan_frames({"dense": dense, "thin": thin}, np.arange(601) / 29.97, 601 / 29.97)
    assert np.array_equal(plan.indices[plan.streams["thin"]], plan.indices[plan.streams["dense"]][::2])
    assert len(plan.indices) == 32
    with pytest.raises(ConfigError, match="needs num_frames"):
        FrameNeed(fps=2, stride=2)
