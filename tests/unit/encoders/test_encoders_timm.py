import importlib.util
import sys

import fake_timm
import pytest
import torch

from vidweave.encoders.timm_tower import TimmTowerConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.testing import check_encoder
from vidweave.types import VisualSpec, component_from_dict

SPEC = VisualSpec(height=8, width=12)


@pytest.fixture
def timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", fake_timm.module())


@pytest.mark.usefixtures("timm")
@torch.no_grad()
def test_publishes_the_named_block():
    for drop, layer in ((True, -1), (False, -2)):
        encoder = TimmTowerConfig(name="vit_tiny", layer=layer, drop_cls=drop, specs={"video": SPEC}).build().eval()
        check_encoder(encoder)
        frames = torch.randn(2, 1, 1, 3, 8, 12)
        (result,) = encoder.tower.forward_intermediates(frames[:, 0, 0], [3 + layer], False, not drop, True, "NLC")
        expected = result if drop else torch.cat([result[1], result[0]], 1)
        torch.testing.assert_close(encoder.encode(frames, "video")[:, 0], expected)


def test_config_round_trip():
    config = TimmTowerConfig(name="vit_tiny", specs={"video": SPEC}, options={"embed_dim": 6})
    assert component_from_dict(ENCODERS, config.to_dict()) == config


@pytest.mark.usefixtures("timm")
def test_faults():
    with pytest.raises(ConfigError, match="layer counts from the end"):
        TimmTowerConfig(name="vit_tiny", layer=2)
    with pytest.raises(ConfigError, match="remove 'pretrained'"):
        TimmTowerConfig(name="vit_tiny", options={"pretrained": True})
    with pytest.raises(ConfigError, match="timm has no model 'vit_tinny'"):
        TimmTowerConfig(name="vit_tinny", specs={"video": SPEC}).build()
    with pytest.raises(ConfigError, match="layer -5 is outside the 3 blocks"):
        TimmTowerConfig(name="vit_tiny", layer=-5, specs={"video": SPEC}).build()
    with pytest.raises(ConfigError, match="frames of one size, got"):
        TimmTowerConfig(name="vit_tiny").build()
    encoder = TimmTowerConfig(name="vit_tiny", specs={"video": SPEC}).build()
    with pytest.raises(ShapeError, match=r"expects \(R, T, 1, 3, 8, 12\)"):
        encoder.encode(torch.zeros(1, 1, 1, 3, 8, 8), "video")


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm():
    with pytest.raises(ConfigError, match=r"needs timm, which is not installed .* \(kind 'vision_tower'\)"):
        TimmTowerConfig(name="vit_tiny", specs={"video": SPEC}).build()


@pytest.mark.parametrize(
    "name", ["pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"]
)
def test_weights_of_timms_own_choice_are_refused(name):
    with pytest.raises(ConfigError, match=f"loaded from safetensors; remove '{name}'"):
        TimmTowerConfig(name="vit_base_patch16_224", options={name: "x"})
