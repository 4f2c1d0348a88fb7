"""MERV's encoders against recorded outputs of the original code, at the tolerances of the folder's README."""

import json

import pytest
import torch
from goldens import close, golden_files, load
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from vidweave.encoders.languagebind import LANGUAGEBIND_KEYS, LanguageBindConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.media.preprocess import apply
from vidweave.model.bases import base_state
from vidweave.model.pool import pool_tokens
from vidweave.systems.merv.keys import dinov2_from_timm, siglip_from_timm
from vidweave.systems.merv.preset import LANGUAGEBIND_PIXELS
from vidweave.types import Frames, PoolSpec, VisualSpec

SYSTEM = "merv"


def files(pattern):
    return pytest.mark.parametrize("file", golden_files(SYSTEM, f"{pattern}.safetensors"), ids=lambda f: f.stem)


def config_of(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["config"])


def weights_of(case):
    return {key.removeprefix("w."): value for key, value in case.items() if key.startswith("w.")}


def tower(model_type, side, layer=-1, final_norm=False, drop_cls=True, **inner):
    config = VisionTowerConfig(
        config={"model_type": model_type, "image_size": side, **inner},
        layer=layer,
        drop_cls=drop_cls,
        final_norm=final_norm,
        specs={"video": VisualSpec(height=side, width=side)},
    )
    return config.build().eval()


def sizes_of_timm(config, weights):
    return {
        "hidden_size": config["embed_dim"],
        "num_hidden_layers": config["depth"],
        "num_attention_heads": config["num_heads"],
        "patch_size": weights["patch_embed.proj.weight"].shape[-1],
    }


def fill(encoder, state):
    """Weights of the layers that are built."""
    encoder.tower.load_state_dict({key: state[key] for key in encoder.tower.state_dict()})
    return encoder


@torch.no_grad()
def encode(encoder, pictures):
    """Frames (B, 3, H, W), each a segment."""
    return encoder.encode(pictures[:, None, None], "video")[:, 0]


@files("enc_siglip*")
def test_siglip(file):
    config, case = config_of(file), load(file)
    weights = weights_of(case)
    sizes = sizes_of_timm(config, weights)
    sizes |= {"intermediate_size": len(weights["blocks.0.mlp.fc1.bias"]), "layer_norm_eps": config["ln_eps"]}
    layer = config["layer_index_taken"] - config["depth"]
    encoder = tower("siglip_vision_model", config["img_size"], layer, hidden_act="gelu", **sizes)
    state = siglip_from_timm(weights)
    close(encode(fill(encoder, state), case["in.x"]), case["out.penultimate_patch_tokens"], 5e-5)
    last = tower("siglip_vision_model", config["img_size"], final_norm=True, hidden_act="gelu", **sizes)
    close(encode(fill(last, state), case["in.x"]), case["out.last_normed"], 5e-5)


@files("enc_dinov2*")
def test_dinov2(file):
    config, case = config_of(file), load(file)
    weights = weights_of(case)
    sizes = {**sizes_of_timm(config, weights), "num_register_tokens": config["reg_tokens"]}
    sizes |= {
        "mlp_ratio": len(weights["blocks.0.mlp.fc1.bias"]) // config["embed_dim"],
        "layer_norm_eps": config["ln_eps"],
    }
    layer, prefix = config["layer_index_taken"] - config["depth"], 1 + config["reg_tokens"]
    for drop in (True, False):
        encoder = tower("dinov2_with_registers", config["img_size"], layer, drop_cls=drop, **sizes)
        got = encode(fill(encoder, dinov2_from_timm(weights)), case["in.x"])
        close(got if drop else got[:, prefix:], case["out.penultimate_patch_tokens"], 5e-5)
    close(got[:, :prefix], case["out.prefix_tokens"], 5e-5)


@files("posembed_resample*")
@torch.no_grad()
def test_positions_at_another_size(file):
    """Released positions are those of 518 px; at 224 px the tower resamples them as timm does when it loads."""
    config, case = config_of(file), load(file)
    grid, width = case["in.pos_embed"], case["in.pos_embed"].shape[-1]
    sizes = {"hidden_size": width, "num_attention_heads": 1, "patch_size": 2, "num_hidden_layers": 1, "mlp_ratio": 1}
    spec = VisualSpec(height=2 * config["to"], width=2 * config["to"])
    config = VisionTowerConfig(
        config={"model_type": "dinov2_with_registers", "image_size": 2 * config["from"], **sizes}, specs={"video": spec}
    )
    embeddings = config.build().eval().tower.embeddings
    embeddings.position_embeddings.copy_(torch.cat([torch.zeros(1, 1, width), grid], 1))
    nn.init.zeros_(embeddings.patch_embeddings.projection.weight)
    nn.init.zeros_(embeddings.patch_embeddings.projection.bias)
    seen = embeddings(torch.zeros(1, 3, spec.height, spec.width))
    close(seen[:, -case["out.pos_embed"].shape[1] :], case["out.pos_embed"], 2e-5)


@files("enc_vivit*")
def test_vivit(file, tmp_path):
    """The released folder's names, read as transformers reads them."""
    config, case = config_of(file), load(file)
    side = config.pop("image_size")
    sizes = {"num_hidden_layers": config["num_hidden_layers"]}
    encoder = tower("vivit", side, final_norm=True, **config)
    save_file(weights_of(case), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vivit", **config, **sizes}))
    model = nn.ModuleDict({"encoders": nn.ModuleDict({"vivit": encoder})})
    state = base_state("encoders.vivit", {"source": str(tmp_path)}, model, tmp_path)
    model.load_state_dict(state)
    values = case["in.pixel_values"][:, None]
    with torch.no_grad():
        tokens = encoder.encode(values, "video")
    close(tokens[:, 0], case["out.features_no_cls"], 5e-5)
    with_cls = tower("vivit", side, final_norm=True, drop_cls=False, **config)
    with_cls.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        close(with_cls.encode(values, "video")[:, 0], case["out.last_hidden_state"], 5e-5)
    steps = config["num_frames"] // config["tubelet_size"][0]
    split = pool_tokens(tokens, PoolSpec(steps=steps))
    assert torch.equal(split.flatten(1, 2), tokens[:, 0])
    assert split.shape[1] == steps


def languagebind(config, case, **changes):
    made = LanguageBindConfig(
        width=config["hidden_size"],
        mlp_width=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        patch=config["patch_size"],
        size=config["image_size"],
        window=config["num_frames"],
        specs={"video": VisualSpec(height=config["image_size"], width=config["image_size"])},
        **changes,
    )
    encoder = made.build().eval()
    state = LANGUAGEBIND_KEYS.to_ours(weights_of(case))
    state = {k: v[0] if k.endswith("temporal_embedding") else v for k, v in state.items()}
    encoder.load_state_dict({key: state[key] for key in encoder.state_dict()})
    return encoder


@files("languagebind_tower*")
@torch.no_grad()
def test_languagebind_tower(file):
    config, case = config_of(file), load(file)
    frames = case["in.pixel_values"].transpose(1, 2)
    values = frames.unflatten(1, (-1, config["num_frames"]))  # (B, T, W, 3, H, W)
    split = PoolSpec(steps=config["num_frames"])
    whole = pool_tokens(languagebind(config, case, layer=-2).encode(values, "video"), split)
    close(whole, case["out.hidden_minus2"], 5e-5)
    patches = languagebind(config, case, layer=-2, drop_cls=True).encode(values, "video")
    close(patches.flatten(1, 2), case["out.noclass_features"], 5e-5)
    last = pool_tokens(languagebind(config, case, final_norm=True).encode(values, "video"), split)
    close(last[:, :, 0].mean(1), case["out.pooled"], 5e-5)


@files("languagebind_transform*")
def test_languagebind_pixels(file):
    config, case = config_of(file), load(file)
    video = Frames.from_array(case["in.video_tchw_uint8"].permute(0, 2, 3, 1).numpy(), fps=8)
    pixels, _ = apply(LANGUAGEBIND_PIXELS, video)
    pixels = pixels.transpose(0, 1)
    assert list(pixels.shape) == config["full_shape"]
    close(pixels[..., ::7, ::7], case["out.pixels_cthw_stride7"], 2e-5)
    close(pixels.sum().reshape(1), case["out.sum"], 0, 1e-4)
    close(pixels.abs().sum().reshape(1), case["out.abs_sum"], 0, 1e-4)
