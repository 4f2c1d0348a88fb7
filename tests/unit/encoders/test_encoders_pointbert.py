"""PointBERT: the contract of encoders, what changes its answer, and faults. Parity has its numbers."""

from dataclasses import replace

import pytest
import torch

from vidweave.encoders.pointbert import ULIP, PointBertConfig, pointbert_from_ulip
from vidweave.errors import CheckpointError, ConfigError, ModalityError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.testing import check_encoder
from vidweave.types import PointSpec, component_from_dict

SPEC = PointSpec(num_points=23, sampling="farthest")
TINY = PointBertConfig(
    width=7,
    hidden=12,
    layers=2,
    heads=3,
    num_groups=5,
    group_size=4,
    group_width=9,
    chunk=2,
    specs={"point_cloud": SPEC},
)


def encoder(config=TINY):
    torch.manual_seed(0)
    return config.build().eval()


def test_it_keeps_the_contract_of_encoders():
    check_encoder(encoder())
    assert ENCODERS.get("pointbert") is PointBertConfig
    assert component_from_dict(ENCODERS, TINY.to_dict()) == TINY


def test_only_the_first_point_and_the_set_of_points_count():
    points = torch.randn(1, 1, 23, 3, generator=torch.Generator().manual_seed(2))
    built = encoder()
    tokens = built.encode(points, "point_cloud")
    shuffled = torch.cat([points[:, :, :1], points[:, :, 1:].flip(2)], 2)
    torch.testing.assert_close(built.encode(shuffled, "point_cloud"), tokens)
    other = encoder(replace(TINY, first_point=11))
    assert not torch.allclose(other.encode(points, "point_cloud"), tokens)
    moved = torch.cat([points[:, :, 11:12], points[:, :, :11], points[:, :, 12:]], 2)
    torch.testing.assert_close(built.encode(moved, "point_cloud"), other.encode(points, "point_cloud"))


def test_ulip_names_both_ways_and_strangers():
    state = encoder().state_dict()
    theirs = {f"{key}": value for key, value in ULIP.to_theirs(state).items()}
    assert "point_encoder.blocks.blocks.1.mlp.fc1.weight" in theirs
    assert "pc_projection" in theirs
    assert (
        pointbert_from_ulip({**theirs, "visual.x": torch.zeros(1), "logit_scale": torch.ones(())}).keys()
        == state.keys()
    )
    with pytest.raises(CheckpointError, match=r"not in the key table: point_encoder\.strange"):
        pointbert_from_ulip({**theirs, "point_encoder.strange": torch.zeros(1)})


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"PointBERT expects points \(R, T, points, 3\), got \(1, 1, 23, 4\)"):
        encoder().encode(torch.zeros(1, 1, 23, 4), "point_cloud")
    with pytest.raises(ModalityError, match="not 'audio'"):
        encoder().encode(torch.zeros(1, 1, 23, 3), "audio")
    with pytest.raises(ConfigError, match=r"hidden \(12\) must be a multiple of heads \(5\)"):
        replace(TINY, heads=5)
    with pytest.raises(ConfigError, match="makes 23 points, but PointBERT needs at least 24"):
        replace(TINY, first_point=23)
    with pytest.raises(ConfigError, match="makes 2 features per point, but PointBERT only takes coordinates"):
        replace(TINY, specs={"point_cloud": replace(SPEC, feature_width=2)})


def test_epsilons_too_small_for_parity_to_see():
    """1e-6 in their place moves recorded outputs by less than the tolerance."""
    norms = [m for m in encoder().modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.BatchNorm1d)]
    assert len(norms) == 2 * TINY.layers + 1 + 2
    assert {norm.eps for norm in norms} == {1e-5}
