import math

import pytest

from vidweave.errors import ConfigError
from vidweave.training import Schedule
from vidweave.training.clock import Clock


def test_cosine_warms_up_and_falls_to_its_minimum():
    schedule = Schedule("cosine", warmup_steps=4, min_lr_ratio=0.1)
    assert schedule.factor(0, 0.0) == pytest.approx(0.25)
    assert schedule.factor(3, 0.0) == pytest.approx(1.0)
    assert schedule.factor(9, 0.5) == pytest.approx(0.55)
    assert schedule.factor(9, 1.0) == pytest.approx(0.1)
    assert schedule.factor(9, 1.7) == pytest.approx(0.1)


def test_constant_only_warms_up():
    schedule = Schedule("constant", warmup_steps=2)
    assert [schedule.factor(step, step / 3) for step in range(3)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("changes", [{"warmup_steps": -1}, {"min_lr_ratio": 1.5}])
def test_a_schedule_checks_its_numbers(changes):
    with pytest.raises(ConfigError, match="warmup_steps must be at least 0 and min_lr_ratio within"):
        Schedule("cosine", **changes)


def test_an_unknown_schedule_names_the_known():
    with pytest.raises(ConfigError, match="'cosine', 'constant', 'warmup_cosine' or 'epochs', got 'linear'"):
        Schedule("linear")  # type: ignore[arg-type]


def test_progress_follows_steps_or_time_where_that_is_further():
    clock = Clock(100.0)
    clock.begin_stage([1.0, 3.0], started=20.0)  # a quarter of the 80 seconds left
    assert clock.progress(5, 10, 22.0) == pytest.approx(0.5)
    assert clock.progress(1, 10, 35.0) == pytest.approx(0.75)
    assert clock.progress(1, 10, 45.0) == 1.0
    assert clock.progress(10, 10, 21.0) == 1.0


def test_a_used_up_budget_ends_a_stage_at_once():
    clock = Clock(10.0)
    clock.begin_stage([1.0], started=11.0)
    assert clock.progress(0, 10, 11.0) == 1.0


def test_a_warm_up_shrinks_with_its_stage():
    clock = Clock(100.0)
    assert clock.schedule_step(3, 1000, 0.5) == 3  # no stage yet, so no end in time
    clock.begin_stage([1.0], started=0.0)
    assert clock.schedule_step(3, 1000, 0.5) == 500
    assert clock.schedule_step(700, 1000, 0.5) == 700
    schedule = Schedule("cosine", warmup_steps=100)
    assert schedule.factor(clock.schedule_step(5, 1000, 0.1), 0.1) > 0.95


def test_the_clock_counts_on_from_earlier_runs():
    assert Clock(None, elapsed=50.0).elapsed() >= 50.0
    with pytest.raises(ConfigError, match="budget must be positive"):
        Clock(0.0)


def test_a_cosine_behind_the_warm_up():
    schedule = Schedule("warmup_cosine", warmup_steps=2)
    factors = [schedule.factor(step, step / 6) for step in range(7)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5 * (1 + 2**-0.5), 0.5, 0.5 * (1 - 2**-0.5), 0], abs=1e-12)


def test_epochs_have_one_rate_each_after_a_linear_rise():
    """Two steps per epoch: epoch 0 rises from 0.1 in four steps and is cut off; later ones stand on the cosine."""
    schedule = Schedule("epochs", num_epochs=4, steps_per_epoch=2, warmup_steps=4, min_lr_ratio=0.2, start_ratio=0.1)
    cosine = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    expected = [0.1, 0.325, cosine[1], cosine[1], cosine[2], cosine[2], cosine[3], cosine[3]]
    assert [schedule.factor(step, step / 8) for step in range(8)] == pytest.approx(expected, abs=1e-12)
