"""LAVIS' names of the EVA tower, there and back; faults."""

import pytest
import torch

from vidweave.encoders.eva_vit import EVA_VIT_G, eva_from_lavis, eva_to_lavis
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import CheckpointError

TINY = {
    **EVA_VIT_G,
    "hidden_size": 12,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
}


@pytest.fixture
def state():
    """Of a tower without key biases."""
    state = VisionTowerConfig(config=TINY).build().state_dict()
    for key, value in state.items():
        value.normal_()
        if key.endswith("qkv.bias"):
            value[12:24] = 0
    return state


def test_there_and_back(state):
    theirs = eva_to_lavis(state)
    assert "blocks.1.attn.q_bias" in theirs
    assert theirs["patch_embed.proj.weight"].shape == (12, 3, 14, 14)
    back = eva_from_lavis({**theirs, "blocks.39.norm1.weight": torch.ones(12), "head.bias": torch.ones(3)})
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_faults(state):
    theirs = eva_to_lavis(state)
    del theirs["blocks.0.attn.v_bias"]
    with pytest.raises(CheckpointError, match=r"lacks blocks\.0\.attn\.v_bias; query and value need a bias each"):
        eva_from_lavis(theirs)
    with pytest.raises(CheckpointError, match=r"1 keys of the other layout are not in the key table: rope\.freqs"):
        eva_from_lavis({"rope.freqs": torch.ones(1)})
    state["tower.encoder.layers.1.self_attn.qkv.bias"][13] = 1.0
    with pytest.raises(CheckpointError, match="key bias that is not zero, which LAVIS' layout cannot store"):
        eva_to_lavis(state)
