"""Durations are in the unit that people would choose, never in powers of ten."""

import math

import pytest

from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import Words
from vidweave.report.durations import format_seconds
from vidweave.types import Trace


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (3e-7, "0.3 µs"), (8.5e-4, "850 µs"), (9.999e-4, "1 ms"), (0.0123, "12.3 ms"), (0.25, "250 ms"),
        (0.99951, "1 s"), (1, "1 s"), (4.56, "4.56 s"), (12.34, "12.3 s"), (59.949, "59.9 s"), (59.96, "1 min"),
        (70.92, "1 min 11 s"), (3599.6, "1 h"), (3_600, "1 h"), (7_505, "2 h 5 min"), (86_399, "1 d"),
        (70_920, "19 h 42 min"), (273_600, "3 d 4 h"), (-2, "-2 s"), (math.nan, "-"), (math.inf, "-"),
    ],
)  # fmt: skip
def test_units(seconds, text):
    assert format_seconds(seconds) == text


def test_any_duration_is_short_and_close():
    """Read back, it is within half a percent or half of the smaller unit; no exponents at any size."""
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
    seconds = 1.3e-6
    while seconds < 1e8:
        words = format_seconds(seconds).split()
        back = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
        assert abs(back - seconds) <= max(0.005 * seconds, 0.5 * units[words[-1]] if len(words) == 4 else 0), words
        assert "e" not in format_seconds(seconds)
        seconds *= 1.37


def test_an_axis_of_a_long_video_has_no_powers_of_ten():
    context = PanelContext(Trace([], {}, {}), (0.0, 70_920.0))
    drawing = context.sheet()
    time_axis(context, drawing, 0)
    assert [s.text for s in drawing.shapes if isinstance(s, Words)][-1] == "19 h 42 min"
    assert format_seconds(0.25, has_parts=False) == "0.25 s"
