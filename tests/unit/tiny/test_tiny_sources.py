"""Examples that are made once, stored features as batches, and linear layers that begin by least squares."""

import numpy as np
import torch
from torch import nn

from vidweave.tiny.linear_starts import ridge_map, set_linear, widen
from vidweave.tiny.sources import FirstExamples, SharedSource, stack_features
from vidweave.types import PrecomputedFeatures


def test_several_stages_share_what_the_first_one_makes():
    calls = []
    source = SharedSource(lambda root: calls.append(root) or [root])
    assert source.value is None
    assert source("a") is source("b")
    assert calls == ["a"]


def test_each_example_is_made_once():
    made = []

    class Squares:
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            made.append(index)
            return index**2

    first = FirstExamples(Squares(), 5)
    assert len(first) == 5
    assert [first[i] for i in (3, 1, 3, 3)] == [9, 1, 9, 9]
    assert made == [3, 1]


def test_features_of_a_batch_keep_their_clips_and_times():
    rows = [
        PrecomputedFeatures(np.full((3, 5, 7), i, np.float16), np.arange(6, dtype=np.float32).reshape(3, 2) + i)
        for i in range(2)
    ]
    features = stack_features(rows)
    assert features.values.dtype == torch.float32
    assert features.values.shape == (2, 3, 5, 7)
    assert features.values[1].unique().tolist() == [1]
    assert features.seconds[1, 2].tolist() == [5, 6]
    assert features.item.tolist() == [0, 1]
    assert features.mask.all()


def test_least_squares_find_a_linear_map():
    torch.manual_seed(0)
    layer, given = nn.Linear(5, 3), torch.randn(400, 5)
    requested = layer(given).detach()
    other = nn.Linear(5, 3)
    set_linear(other, *ridge_map(given, requested, ridge=1e-6))
    torch.testing.assert_close(other(given), requested, atol=1e-3, rtol=1e-3)


def test_narrow_layers_begin_wide_and_norms_as_they_were():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
    with torch.no_grad():
        module[0].weight.mul_(0.01)
    widen(module)
    assert 0.1 < float(module[0].weight.detach().std()) < 0.15  # sqrt(2 / 128)
    assert module[1].weight.unique().tolist() == [1]
