"""Farthest and nearest points against their definitions."""

import pytest
import torch

from vidweave.errors import ShapeError
from vidweave.media.preprocess import apply
from vidweave.nn.points import farthest_points, nearest_points, take_points
from vidweave.types import PointCloud, PointSpec


def test_each_point_is_the_farthest_from_all_before():
    points = torch.randn(3, 17, 3, generator=torch.Generator().manual_seed(0))
    chosen = farthest_points(points, 7, torch.tensor([2, 0, 16]))
    assert chosen[:, 0].tolist() == [2, 0, 16]
    for cloud, index in zip(points, chosen, strict=True):
        for count in range(1, 7):
            gaps = (cloud[:, None] - cloud[index[:count]]).norm(dim=-1).min(1).values
            assert int(index[count]) == int(gaps.argmax())
    assert torch.equal(farthest_points(points[1:2], 7), chosen[1:2])


def test_the_first_point_must_exist():
    with pytest.raises(ShapeError, match=r"the first point must be one of 0\.\.3, got \[4\]"):
        farthest_points(torch.zeros(1, 4, 3), 2, 4)


def test_nearest_points_in_order_of_distance_even_far_from_zero():
    points = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(1)) * 1e-3 + 40.0
    centers = take_points(points, torch.tensor([[0, 5], [3, 10]]))
    near = nearest_points(points, centers, 4)
    for row in range(2):
        for group in range(2):
            gaps = (points[row].double() - centers[row, group].double()).norm(dim=-1)
            assert near[row, group].tolist() == gaps.argsort()[:4].tolist()
    assert near[:, :, 0].tolist() == [[0, 5], [3, 10]]
    with pytest.raises(ShapeError, match="a cloud of 3 points does not have 4 neighbors"):
        nearest_points(points[:, :3], centers, 4)


def test_preprocessing_chooses_the_same_points():
    points = torch.randn(1, 29, 3, generator=torch.Generator().manual_seed(4))
    spec = PointSpec(num_points=8, normalize=False, sampling="farthest")
    seen, _ = apply(spec, PointCloud(points[0].numpy()))
    assert torch.equal(seen[0], points[0, farthest_points(points, 8)[0]])
