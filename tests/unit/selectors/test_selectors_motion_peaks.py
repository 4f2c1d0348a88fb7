"""Motion peaks: the largest movements, far enough apart, whatever is asked."""

import pytest
import torch

from vidweave.errors import ConfigError, ShapeError
from vidweave.selectors.motion_peaks import MotionPeaksSelectorConfig
from vidweave.types import Features


def motion(*energies, step=0.5):
    """Rows of energies, padded."""
    longest = max(map(len, energies))
    values = torch.zeros(len(energies), longest, 2, 3)
    for row, energy in enumerate(energies):
        values[row, : len(energy), 1, 0] = torch.tensor(energy)
    mask = torch.arange(longest) < torch.tensor([[len(energy)] for energy in energies])
    start = torch.arange(longest) * step
    seconds = torch.stack([start, start + step], -1).expand(len(energies), -1, -1)
    item = torch.arange(len(energies))
    return Features(values, mask[..., None].expand(-1, -1, 2), seconds, item, torch.zeros_like(item))


def choose(features, times, k, **config):
    candidates = torch.tensor(times, dtype=torch.float64).expand(len(features.values), -1)
    mask = torch.ones_like(candidates, dtype=torch.bool)
    return MotionPeaksSelectorConfig(**config).build()(features, None, candidates, mask, k=k)


TIMES = [0.25 + 0.5 * i for i in range(10)]


def test_largest_movements_in_order_of_time():
    chosen = choose(motion([0, 5, 4, 0, 0, 0, 9, 0, 0, 1]), TIMES, 3)
    assert chosen.seconds[0].tolist() == [0.75, 3.25, 4.75]
    assert chosen.reason == "motion_peaks"


def test_peaks_are_apart():
    energy = [0, 5, 4, 3, 0, 0, 1, 0, 0, 0]
    assert choose(motion(energy), TIMES, 2).seconds[0].tolist() == [0.75, 3.25]
    assert choose(motion(energy), TIMES, 2, min_gap_seconds=0.4).seconds[0].tolist() == [0.75, 1.25]


def test_rows_do_not_see_one_another_and_padding_is_no_peak():
    both = motion([0, 0, 7.0], [1.0, 0, 0, 0, 0, 8.0])
    assert choose(both, TIMES, 1).seconds.flatten().tolist() == [1.25, 2.75]


def test_too_few_peaks_are_filled_up_and_stillness_is_spread():
    assert choose(motion([0, 0, 3, 0, 0, 0]), TIMES, 3).seconds[0].tolist() == [0.75, 1.25, 1.75]
    still = choose(motion([0.0] * 10), TIMES, 2).seconds[0]
    assert still.tolist() == [TIMES[2], TIMES[7]]


def test_what_is_missing_is_reported():
    selector = MotionPeaksSelectorConfig().build()
    times, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ConfigError, match="needs motion"):
        selector(None, None, times, mask, k=2)
    with pytest.raises(ConfigError, match="k >= 1, got k=0"):
        selector(motion([1.0], [1.0]), None, times, mask, k=0)
    with pytest.raises(ShapeError, match="rows of candidates and motion differ: 2, 1"):
        selector(motion([1.0]), None, times, mask, k=1)
    with pytest.raises(ConfigError, match="no trainable parameters"):
        selector.loss(choose(motion([1.0]), TIMES, 1), torch.zeros(1, 1, 2))
    with pytest.raises(ConfigError, match="min_gap_seconds must not be negative"):
        MotionPeaksSelectorConfig(min_gap_seconds=-1.0)
