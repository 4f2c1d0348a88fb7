from dataclasses import replace

import pytest
import torch

from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.testing import check_encoder
from vidweave.types import VisualSpec, component_from_dict

SPEC = VisualSpec(height=6, width=6)
TINY = LanguageBindConfig(
    width=12, mlp_width=20, layers=3, heads=3, patch=3, size=6, window=4, layer=-2, specs={"video": SPEC}
)


def tiny(**changes):
    torch.manual_seed(0)
    encoder = replace(TINY, **changes).build().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


def test_keeps_the_contract():
    """Among it: no group sees another, neither of its clip nor of another one."""
    check_encoder(tiny())
    check_encoder(tiny(drop_cls=True, layer=-1, final_norm=True, chunk=2))


@torch.no_grad()
def test_frames_of_a_window_see_one_another():
    encoder = tiny(drop_cls=True)
    assert encoder.num_tokens == 4 * 4
    values = torch.randn(1, 1, 4, 3, 6, 6)
    before = encoder.encode(values, "video")
    values[0, 0, 3] += 1
    changed = (encoder.encode(values, "video") != before).any(-1)[0, 0]
    assert changed.all()


def test_layers_behind_the_published_one_are_not_built():
    assert len(tiny(layer=-2).layers) == 2
    assert len(tiny(layer=1).layers) == 1
    assert tiny(layer=-1).final_norm is None


def test_paper_size():
    """404.2 M with all layers, the last norm and CLIP's projection (768 x 1024); spec 1.5."""
    with torch.device("meta"):
        tower = LanguageBindConfig(final_norm=True).build()
    assert sum(p.numel() for p in tower.parameters()) / 1e6 == pytest.approx(404.2, abs=0.9)


def test_config_round_trip():
    assert component_from_dict(ENCODERS, TINY.to_dict()) == TINY


def test_faults():
    with pytest.raises(ConfigError, match=r"the patch \(4\) must divide the size \(6\)"):
        tiny(patch=4)
    with pytest.raises(ConfigError, match=r"layer 5 is outside the hidden states 0\.\.3"):
        tiny(layer=5)
    with pytest.raises(ConfigError, match="final_norm belongs to the last layer, but layer is -2"):
        tiny(final_norm=True)
    with pytest.raises(ConfigError, match="makes frames of 7 x 6, but the tower takes 6"):
        tiny(specs={"video": VisualSpec(height=7, width=6)})
    with pytest.raises(ShapeError, match="give its stream a window of 4 frames"):
        tiny().encode(torch.zeros(1, 2, 3, 3, 6, 6), "video")
