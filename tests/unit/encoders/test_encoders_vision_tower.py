import pytest
import torch
import transformers

from vidweave.encoders.families import FAMILIES
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError, UnknownNameError
from vidweave.nn.config_keys import known_keys
from vidweave.registry import ENCODERS
from vidweave.types import VisualSpec, component_from_dict

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 20}
SMALL |= {"image_size": 12, "patch_size": 4}
EXTRA = {
    "dinov2": {"mlp_ratio": 2},
    "dinov2_with_registers": {"num_register_tokens": 3, "mlp_ratio": 2},
    "vivit": {"num_frames": 4, "tubelet_size": [2, 4, 4]},
    "videomae": {"num_frames": 4, "tubelet_size": 2},
    "timesformer": {"num_frames": 2},
    "vjepa2": {"crop_size": 12, "frames_per_clip": 4, "tubelet_size": 2, "mlp_ratio": 2, "pred_num_hidden_layers": 1}
    | {"pred_hidden_size": 8, "pred_num_attention_heads": 2},
    "videoprism_vision_model": {"num_frames": 2, "tubelet_size": [1, 4, 4], "num_spatial_layers": 2}
    | {"num_temporal_layers": 1, "num_auxiliary_layers": 0},
}
SPEC = VisualSpec(height=12, width=12)


def small(model_type):
    """Of the common sizes, those that the family has."""
    known = known_keys(transformers.CONFIG_MAPPING[model_type])
    return {key: value for key, value in SMALL.items() if key in known} | EXTRA.get(model_type, {})


def tiny(model_type, **changes):
    torch.manual_seed(0)
    inner = {"model_type": model_type, **small(model_type)}
    return VisionTowerConfig(**{"config": inner, "specs": {"video": SPEC, "depth": SPEC}, **changes})


def randomise(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


def reference(model_type):
    """The whole transformers model, as its users have it."""
    cls = getattr(transformers, FAMILIES[model_type].model)
    return randomise(cls(cls.config_class(**small(model_type))))


def fill(encoder, whole):
    """The tower's part of the weights of a whole model of transformers."""
    state = whole.state_dict()
    encoder.tower.load_state_dict({key: state[key] for key in encoder.tower.state_dict()})


PLAIN = sorted(name for name, family in FAMILIES.items() if family.has_plain_layers)


@pytest.mark.parametrize("model_type", PLAIN)
@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_publishes_the_hidden_state_before_the_norm(model_type, layer):
    whole = reference(model_type)
    encoder = tiny(model_type, layer=layer).build().eval()
    fill(encoder, whole)
    norm = FAMILIES[model_type].norm
    assert norm is None or not any(key.startswith(norm) for key in encoder.tower.state_dict())
    values = torch.randn(2, 3, encoder.window, 3, 12, 12)
    flat = values.flatten(0, 1)
    seen = []  # the state behind each layer, taken by the test, since some models norm what they call hidden states
    layers = next(m for m in whole.modules() if isinstance(m, torch.nn.ModuleList))
    hooks = [
        part.register_forward_hook(lambda m, i, o: seen.append(o[0] if isinstance(o, tuple) else o)) for part in layers
    ]
    whole(flat if encoder.is_video else flat[:, 0])
    for hook in hooks:
        hook.remove()
    expected = seen[layer if layer < 0 else layer - 1]
    got = encoder.encode(values, "video")
    assert got.shape == (2, 3, encoder.num_tokens, encoder.width)
    torch.testing.assert_close(got.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", sorted(set(PLAIN) - {"clip_vision_model"}))
def test_final_norm_publishes_the_last_hidden_state(model_type):
    whole = reference(model_type)
    encoder = tiny(model_type, final_norm=True, drop_cls=True).build().eval()
    fill(encoder, whole)
    values = torch.randn(1, 2, encoder.window, 3, 12, 12)
    flat = values[0]
    expected = whole(flat if encoder.is_video else flat[:, 0]).last_hidden_state[:, encoder.num_dropped :]
    torch.testing.assert_close(encoder.encode(values, "depth")[0], expected, rtol=1e-4, atol=1e-5)


def test_drop_cls_drops_registers_too():
    full, patches = tiny("dinov2_with_registers").build(), tiny("dinov2_with_registers", drop_cls=True).build()
    assert (full.num_tokens, patches.num_tokens) == (9 + 4, 9)


def test_chunked_equals_whole_and_no_rows():
    values = torch.randn(2, 3, 1, 3, 12, 12)
    whole, chunked = tiny("siglip_vision_model").build().eval(), tiny("siglip_vision_model", chunk=4).build().eval()
    torch.testing.assert_close(whole.encode(values, "video"), chunked.encode(values, "video"))
    assert whole.encode(values[:0], "video").shape == (0, 3, 9, 16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    encoder = tiny("dinov2").build().eval()
    values = torch.randn(1, 2, 1, 3, 12, 12)
    full = encoder.encode(values, "video")
    half = encoder.to(dtype).encode(values, "video")
    assert half.dtype == dtype
    assert (half.float() - full).abs().max() < 0.1 * full.abs().max()


def test_another_size_where_the_tower_resamples():
    encoder = tiny("dinov2", specs={"video": VisualSpec(height=8, width=20)}).build().eval()
    assert encoder.num_tokens == 1 + 2 * 5
    assert encoder.encode(torch.randn(1, 1, 1, 3, 8, 20), "video").shape == (1, 1, 11, 16)


def test_paper_size_on_meta():
    with torch.device("meta"):
        config = {"model_type": "blip_2_vision_model"}  # its defaults are EVA ViT-g
        encoder = VisionTowerConfig(config=config, specs={"video": VisualSpec(height=224, width=224)}).build()
    assert (encoder.num_tokens, encoder.width) == (257, 1408)
    # the paper's 985,894,528 (no last norm), and transformers' bias for keys, which is zero in released weights
    assert sum(p.numel() for p in encoder.parameters()) == 985_894_528 + 39 * 1408


def test_config_round_trip():
    config = tiny("vivit", drop_cls=True, chunk=2)
    assert component_from_dict(ENCODERS, config.to_dict()) == config


def test_faults():
    with pytest.raises(ConfigError, match="needs 'model_type'"):
        VisionTowerConfig(config={"hidden_size": 3})
    with pytest.raises(UnknownNameError, match=r"unknown vision tower 'dinov22'; did you mean 'dinov2'"):
        VisionTowerConfig(config={"model_type": "dinov22"})
    with pytest.raises(ConfigError, match="final_norm belongs to the last layer, but layer is -2"):
        tiny("dinov2", layer=-2, final_norm=True)
    with pytest.raises(ConfigError, match=r"layer 4 is outside the hidden states 0\.\.3"):
        tiny("dinov2", layer=4).build()
    with pytest.raises(ConfigError, match=r"frames of \(8, 8\), but this tower \(SiglipVisionModel\) takes \(12, 12\)"):
        tiny("siglip_vision_model", specs={"video": VisualSpec(height=8, width=8)}).build()
    with pytest.raises(ConfigError, match="frames of one size"):
        tiny("dinov2", specs={"video": SPEC, "depth": VisualSpec(height=8, width=8)}).build()
    encoder = tiny("vit").build()
    with pytest.raises(ModalityError, match="supports depth, video, not 'audio'"):
        encoder.encode(torch.zeros(1, 1, 1, 3, 12, 12), "audio")
    with pytest.raises(ShapeError, match=r"expects \(R, T, 1, 3, 12, 12\), got \(1, 1, 2, 3, 12, 12\)"):
        encoder.encode(torch.zeros(1, 1, 2, 3, 12, 12), "video")


def test_the_whole_model_is_known_and_not_made():
    encoder = tiny("siglip_vision_model", layer=-2).build()
    keys = encoder.whole_model().state_dict()
    assert {tensor.device.type for tensor in keys.values()} == {"meta"}
    left_out = keys.keys() - encoder.tower.state_dict().keys()
    assert {key.split(".")[0] for key in left_out} == {"encoder", "post_layernorm", "head"}
    assert not encoder.tower.state_dict().keys() - keys.keys()


HIERA = {
    "model_type": "hiera",
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "image_size": [64, 64],
}


@pytest.mark.parametrize(("model_type", "tokens"), [("vjepa2", 2 * 9), ("videoprism_vision_model", 2 * 9)])
def test_video_towers_that_publish_their_last_state(model_type, tokens):
    whole = reference(model_type)
    encoder = tiny(model_type).build().eval()
    fill(encoder, whole)
    assert encoder.num_tokens == tokens
    values = torch.randn(2, 1, encoder.window, 3, 12, 12)
    expected = whole(pixel_values_videos=values[:, 0], **FAMILIES[model_type].call).last_hidden_state
    torch.testing.assert_close(encoder.encode(values, "video")[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_hiera_publishes_its_last_stage():
    spec = VisualSpec(height=64, width=64)
    encoder = VisionTowerConfig(config=HIERA, specs={"video": spec}).build().eval()
    assert (encoder.num_tokens, encoder.width) == (4, 64)
    values = torch.randn(1, 2, 1, 3, 64, 64)
    whole = encoder.tower(pixel_values=values[0, :, 0]).last_hidden_state
    torch.testing.assert_close(encoder.encode(values, "video")[0], whole)
    with pytest.raises(ConfigError, match="HieraModel has stages that cannot be truncated; use layer=-1, got -2"):
        VisionTowerConfig(config=HIERA, layer=-2, specs={"video": spec}).build()


@pytest.mark.parametrize(("model_type", "prefix"), [("ijepa", 0), ("vit_msn", 1), ("deit", 2), ("dinov3_vit", 5)])
def test_a_tower_that_no_table_knows(model_type, prefix):
    """By its name alone: as many tokens before the patches as it turns out to give, and its own norm."""
    extra = {"dinov3_vit": {"num_register_tokens": 4}}.get(model_type, {})
    inner = {"model_type": model_type, **small(model_type), **extra}
    full = VisionTowerConfig(config=inner, specs={"video": SPEC}).build().eval()
    patches = VisionTowerConfig(config=inner, specs={"video": SPEC}, drop_cls=True).build()
    assert (full.num_tokens, patches.num_tokens) == (9 + prefix, 9)
    values = torch.randn(2, 1, 1, 3, 12, 12)
    expected = full.tower(pixel_values=values[:, 0, 0]).last_hidden_state
    torch.testing.assert_close(full.encode(values, "video")[:, 0], expected)


def test_what_is_no_tower_of_patches_is_refused():
    inner = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4}
    config = VisionTowerConfig(
        config={**inner, "image_size": 32, "patch_size": 4}, specs={"video": VisualSpec(height=32, width=32)}
    )
    with pytest.raises(ConfigError, match=r"SwinModel cannot be used as a tower of patches: .* add it to"):
        config.build()
    with pytest.raises(UnknownNameError, match="unknown vision tower 'llama'"):
        VisionTowerConfig(config={"model_type": "llama"})
