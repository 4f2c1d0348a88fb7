"""Turns and limits, on a clock of the test's own."""

from __future__ import annotations

from vidweave.engines.throttle import Pace, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_turns_are_spaced_evenly() -> None:
    clock = Clock()
    pace = Pace(120, clock)
    assert [pace.wait() for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert pace.wait(units=6) == 2.0
    assert pace.wait() == 5.0
    clock.now += 60
    assert pace.wait() == 0.0


def test_no_bound_is_no_wait_but_a_hold_is_kept() -> None:
    clock = Clock()
    pace = Pace(None, clock)
    assert [pace.wait(1000) for _ in range(3)] == [0.0] * 3
    pace.hold(7)
    assert [pace.wait() for _ in range(2)] == [7.0] * 2


def test_one_wave_of_refusals_halves_the_limit_once() -> None:
    clock = Clock()
    throttle = Throttle(16, clock=clock)
    for _ in range(5):
        throttle.refused(started=99.0)
    assert throttle.limit == 8
    clock.now = 101.0
    throttle.refused(started=100.5)
    assert throttle.limit == 4
    for number in range(9):
        clock.now += 1
        throttle.refused(started=clock.now - 0.5)
        assert throttle.limit >= 1, number


def test_about_a_limits_worth_of_served_requests_raises_it_by_one_up_to_the_most() -> None:
    throttle = Throttle(8, clock=Clock())
    throttle.refused(started=0.0)
    for _ in range(5):
        throttle.served()
    assert 5 <= throttle.limit < 5.5
    for _ in range(100):
        throttle.served()
    assert throttle.limit == 8
