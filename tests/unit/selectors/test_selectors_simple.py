import pytest
import torch

from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import SELECTORS
from vidweave.selectors.all_frames import AllFramesSelectorConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import Selector, component_from_dict

CANDIDATES = torch.tensor([[2.0, 3.0, 4.0, 10.0, 99.0], [7.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5], dtype=torch.float64)
MASK = torch.tensor([[True] * 4 + [False], [True] + [False] * 4, [False] * 5])


def test_uniform_takes_the_middle_of_equal_parts():
    chosen = UniformSelectorConfig().build()(None, None, CANDIDATES, MASK, k=4)
    assert chosen.seconds.tolist() == [[3.0, 5.0, 7.0, 9.0], [7.0] * 4, [0.0] * 4]
    assert chosen.mask.tolist() == [[True] * 4, [True] * 4, [False] * 4]
    assert chosen.spans.tolist() == [[[2.0, 10.0]], [[7.0, 7.0]], [[0.0, 0.0]]]
    assert chosen.seconds.dtype == torch.float64
    assert chosen.reason == "uniform"


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_uniform_with_as_many_timestamps_as_frames_hits_each_frame(count):
    candidates = torch.arange(count, dtype=torch.float64)[None] / 25
    chosen = UniformSelectorConfig().build()(None, None, candidates, torch.ones(1, count, dtype=torch.bool), k=count)
    nearest = (chosen.seconds[0, :, None] - candidates[0]).abs().argmin(-1)
    assert nearest.tolist() == list(range(count))


def test_all_frames_is_the_candidates():
    chosen = AllFramesSelectorConfig().build()(None, None, CANDIDATES, MASK, k=2)
    assert torch.equal(chosen.seconds, CANDIDATES)
    assert torch.equal(chosen.mask, MASK)
    assert chosen.reason == "all_frames"


@pytest.mark.parametrize("config", [UniformSelectorConfig(), AllFramesSelectorConfig()])
def test_protocol_and_faults(config):
    assert component_from_dict(SELECTORS, config.to_dict()) == config
    selector = config.build()
    assert isinstance(selector, Selector)
    assert not selector.needs_motion
    chosen = selector(None, None, CANDIDATES, MASK, k=3)
    with pytest.raises(ConfigError, match="no trainable parameters"):
        selector.loss(chosen, torch.zeros(3, 1, 2))
    with pytest.raises(ShapeError, match=r"must be \(R, C\)"):
        selector(None, None, CANDIDATES, MASK[:2], k=3)
    assert selector(None, None, torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), k=3).spans.shape == (2, 1, 2)


def test_uniform_needs_a_moment():
    with pytest.raises(ConfigError, match="needs k >= 1, got k=0"):
        UniformSelectorConfig().build()(None, None, CANDIDATES, MASK, k=0)
