"""The pillar encoder: where points are (and how many, if asked), and nothing of their order."""

import pytest
import torch

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.pillars import PillarEncoderConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.testing import check_encoder
from vidweave.types import PointSpec, component_from_dict


def tiny(**changes):
    torch.manual_seed(0)
    frames = PatchEncoderConfig(size=(6, 8), patch=2, width=20, layers=1, heads=2, channels=3, chunk=2)
    fields = {"extent_metres": 2.0, "depth_metres": 0.9, "pictures": frames}
    return PillarEncoderConfig(**{**fields, "specs": {"point_cloud": PointSpec(num_points=11)}, **changes})


def test_it_keeps_the_contract_of_encoders():
    encoder = tiny().build().eval()
    check_encoder(encoder)
    assert (encoder.num_tokens, encoder.width) == (12, 20)


def test_points_fall_into_their_pillars():
    encoder = tiny().build()
    points = torch.tensor([[[-1.9, -1.9, -0.8], [1.9, 1.9, 0.8], [0.1, 0.1, 0.0], [2.1, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    filled = encoder.occupancy(points)
    assert filled.shape == (1, 3, 6, 8)
    assert filled[0].nonzero().tolist() == [[0, 0, 0], [1, 3, 4], [2, 5, 7]]  # layer, row, column; two lie outside


def test_cells_may_count_their_points():
    points = torch.tensor([[[0.1, 0.1, 0.0]] * 3 + [[-1.9, -1.9, -0.8], [2.1, 0.0, 0.0]]])
    counted = tiny(counts=True).build().occupancy(points)
    assert counted[0, 1, 3, 4].exp().item() == pytest.approx(1 + 3)
    assert counted[0, 0, 0, 0].exp().item() == pytest.approx(1 + 1)
    assert counted.count_nonzero() == 2  # what lies outside counts nowhere


def test_order_repetition_and_further_columns_change_nothing():
    encoder = tiny().build().eval()
    points = torch.rand(2, 1, 11, 3) - 0.5
    shuffled = points[:, :, torch.randperm(11)].repeat(1, 1, 3, 1)
    tokens = encoder.encode(points, "point_cloud")
    torch.testing.assert_close(encoder.encode(shuffled, "point_cloud"), tokens)
    coloured = torch.cat([points, torch.rand(2, 1, 11, 2)], dim=-1)
    torch.testing.assert_close(encoder.encode(coloured, "point_cloud"), tokens)


def test_it_is_registered_and_its_configuration_reads_back():
    assert ENCODERS.get("pillars") is PillarEncoderConfig
    assert component_from_dict(ENCODERS, tiny().to_dict()) == tiny()


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"expects points \(R, T, P, 3 or more\), got \(1, 1, 4, 2\)"):
        tiny().build().encode(torch.zeros(1, 1, 4, 2), "point_cloud")
    with pytest.raises(ModalityError, match="this pillar encoder supports point_cloud, not 'video'"):
        tiny().build().encode(torch.zeros(1, 1, 4, 3), "video")
    with pytest.raises(ConfigError, match="extents must be positive"):
        tiny(depth_metres=0.0)
