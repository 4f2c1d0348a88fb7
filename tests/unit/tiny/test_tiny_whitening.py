"""Whitening evens out the directions of features."""

import pytest
import torch

from vidweave.errors import ShapeError
from vidweave.tiny.whitening import whitening


def test_white_features_have_unit_covariance_and_no_mean():
    torch.manual_seed(0)
    scales = torch.tensor([30.0, 5.0, 1.0, 0.5, 0.2, 0.1, 0.05])
    features = (torch.randn(4000, 7) * scales @ torch.randn(7, 7) + 3).double()
    weight, bias = whitening(features, floor=0.0)
    white = features @ weight.T + bias
    torch.testing.assert_close(torch.cov(white.T), torch.eye(7).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros(7).double(), atol=1e-6, rtol=0)


def test_the_floor_keeps_silent_directions_quiet():
    torch.manual_seed(0)
    features = torch.cat([torch.randn(500, 3), torch.randn(500, 1) * 1e-4], 1)
    weight, bias = whitening(features)
    assert (features @ weight.T + bias).std(0)[3] < 0.01


def test_too_few_samples_are_refused():
    with pytest.raises(ShapeError, match=r"N >= C samples, got \(3, 4\)"):
        whitening(torch.zeros(3, 4))
