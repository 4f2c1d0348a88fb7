import math

import pytest
import torch

from vidweave.encoders.point_cloud import PointFeaturesConfig, voxel_positions
from vidweave.errors import ConfigError, ModalityError, ShapeError
from vidweave.types import PointSpec

SPEC = PointSpec(num_points=5, feature_width=11, normalize=False)
POINTS = PointFeaturesConfig(width=11, specs={"point_cloud": SPEC})


def test_positions_by_the_formula():
    table = voxel_positions(5, 7)  # three frequencies, the last cosine cut off
    for voxel in range(7):
        expected = [f(voxel * 10000 ** (-2 * i / 6)) for i in range(3) for f in (math.sin, math.cos)][:5]
        torch.testing.assert_close(table[voxel], torch.tensor(expected))


def test_features_keep_their_last_columns():
    values = torch.cat([torch.tensor([[[[3.0, 0.0, 6.0]]]]), torch.zeros(1, 1, 1, 11)], -1)
    tokens = POINTS.build().encode(values, "point_cloud")
    table = voxel_positions(3, 256)
    expected = 0.01 * torch.cat([table[3], table[0], table[6], torch.zeros(2)])
    torch.testing.assert_close(tokens[0, 0, 0], expected)


def test_it_has_no_weights():
    assert not POINTS.build().state_dict()


def test_faults():
    encoder = POINTS.build()
    with pytest.raises(ShapeError, match=r"point features must be \(R, 1, points, 14\), got \(1, 1, 5, 13\)"):
        encoder.encode(torch.zeros(1, 1, 5, 13), "point_cloud")
    with pytest.raises(ShapeError, match=r"voxels must be within 0\.\.255, got -1\.\.0"):
        encoder.encode(torch.cat([torch.tensor([[[[-1.0, 0, 0]]]]), torch.zeros(1, 1, 1, 11)], -1), "point_cloud")
    with pytest.raises(ModalityError, match="not 'depth'"):
        encoder.encode(torch.zeros(1, 1, 5, 14), "depth")
    with pytest.raises(ConfigError, match="makes 3 features per point, but the encoder takes 11"):
        PointFeaturesConfig(width=11, specs={"point_cloud": PointSpec(num_points=5, feature_width=3)})
