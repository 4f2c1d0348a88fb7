"""MERV's projectors and mixers against recorded outputs of its original code, at the tolerances of the folder's README."""

import json
from dataclasses import replace
from math import isqrt

import pytest
import torch
from goldens import close, golden_files, load
from safetensors import safe_open

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.mixer import ChannelConcatConfig, MixerConfig, fold
from vidweave.connectors.mlp import MLPConfig, head_widths
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.projectors import ProjectorConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.model.pool import pool_tokens
from vidweave.systems.merv.keys import mixer_from_merv, projector_from_merv, resampler_from_merv
from vidweave.types import Blocks, Features, MergesTime, PoolSpec, TrunkInput

SYSTEM = "merv"
HEADS = {"linear": "linear", "gelu-mlp": "mlp", "fused-gelu-mlp": "fused_mlp", "none": "none"}


def files(pattern):
    return pytest.mark.parametrize("file", golden_files(SYSTEM, f"{pattern}.safetensors"), ids=lambda f: f.stem)


def config_of(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["config"])


def part(case, prefix):
    return {key.removeprefix(prefix): value for key, value in case.items() if key.startswith(prefix)}


def features_of(x):
    rows, segments, tokens, _ = x.shape
    seconds = torch.arange(segments + 1.0).unfold(0, 2, 1).expand(rows, -1, -1)
    item = torch.arange(rows)
    return Features(x, torch.ones(rows, segments, tokens, dtype=torch.bool), seconds, item, torch.zeros_like(item))


# ---- heads


@files("proj_*")
def test_heads(file):
    config, case = config_of(file), load(file)
    width_in = case["in.x"].shape[-1]
    widths = tuple(len(case[key]) for key in sorted(case) if key.startswith("w.projector.") and key.endswith("bias"))
    kind = config["class"].removeprefix("proj_").removesuffix("_preln").replace("gelu_", "")
    if not kind.endswith("deep"):
        assert head_widths(kind, width_in, widths[-1]) == widths
    head = MLPConfig(key_width=width_in, widths=widths).build()
    head.load_state_dict(
        projector_from_merv({f"projector.{k}": v for k, v in part(case, "w.").items() if "layernorm" not in k}, "mlp")
    )
    x = case["in.x"]
    if config.get("pre_proj_layernorm"):
        port = PortConfig(trunk="head", input_width=width_in, input_norm=True, output_proj=False)
        port = port.build("video", head, widths[-1])
        port.input_norm.load_state_dict(part(case, "w.layernorm."))
        x = port.keys(x[:, None], torch.ones(*x.shape[:2], dtype=torch.bool)[:, None], torch.zeros(len(x)), x.dtype)[
            :, 0
        ]
    with torch.no_grad():
        close(head(TrunkInput(None, x)), case["out.y"], 2e-5)


# ---- pooling


def connector_of(config, case):
    """The pooling projector of a file as a connector of one stream, with its weights."""
    width, head = config["fused_vision_dim"], HEADS[config["mlp_type"]]
    budget, time = config["output_token_length"], config["input_frames"] // config["output_frames"]
    weights = part(case, "w.")
    if config["class"] == "AttentivePooler":
        widths = head_widths(head, width, config["llm_dim"])
        trunk = ResamplerConfig(key_width=width, heads=config["num_heads"], widths=widths)
        state = {("connector." + k): v for k, v in resampler_from_merv(weights).items()}
        queries, span = budget, "group"
    else:
        pooling = {"Average": "average", "Convolutional3D": "conv3d", "Convolutional": "conv2d"}
        kind = next(ours for theirs, ours in pooling.items() if config["class"].startswith(theirs))
        inside = width if kind == "average" else config["llm_dim"]
        trunk = ProjectorConfig(
            key_width=width,
            pooling=kind,
            num_tokens=budget,
            time=time,
            conv_width=None if kind == "average" else inside,
            widths=head_widths(head, inside, config["llm_dim"]),
        )
        state = {f"connector.trunk.{k}": v for k, v in projector_from_merv(weights).items()}
        queries, span = 0, "clip" if isinstance(trunk, MergesTime) and trunk.needs_clip else "group"
    port = PortConfig(trunk="video", input_width=width, num_query_tokens=queries, output_proj=False, span=span)
    built = (
        ConnectorConfig(trunks={"video": trunk}, ports={"video": port}, output_width=config["llm_dim"]).build().eval()
    )
    ours = {
        k.replace("connector.trunk.", "trunks.video.").replace("connector.port.", "ports.video."): v
        for k, v in state.items()
    }
    built.load_state_dict(ours)
    return built


@files("pool_*")
@torch.no_grad()
def test_poolings(file):
    config, case = config_of(file), load(file)
    features = features_of(case["in.x"])
    blocks, _ = connector_of(config, case)({"video": features}, features.item, features.scene)
    assert blocks["video"].values.shape[1:3] == (config["output_frame_length"], config["output_token_length"])
    close(blocks["video"].values.flatten(1, 2), case["out.y"], 2e-5)


@files("pool_avg*")
@torch.no_grad()
def test_poolings_before_the_store(file):
    """The stream's own pool, then the head alone."""
    config, case = config_of(file), load(file)
    time = config["input_frames"] // config["output_frames"]
    pooled = pool_tokens(case["in.x"], PoolSpec(grid=isqrt(config["output_token_length"]), time=time))
    widths = head_widths(HEADS[config["mlp_type"]], config["fused_vision_dim"], config["llm_dim"])
    head = MLPConfig(key_width=config["fused_vision_dim"], widths=widths).build()
    head.load_state_dict(projector_from_merv(part(case, "w."), "mlp"))
    close(head(TrunkInput(None, pooled.flatten(1, 2))), case["out.y"], 2e-5)


# ---- mixers


def blocks_of(case):
    """Encoder features of a mixer file as blocks of two tokens per segment, or one token for the whole clip."""
    streams = {}
    for name, value in sorted(part(case, "in.v").items(), key=lambda pair: int(pair[0])):
        per_segment = 2 if value.shape[1] % 2 == 0 else 1
        values = value.unflatten(1, (-1, per_segment))
        mask = torch.ones(values.shape[:3], dtype=torch.bool)
        seconds = torch.arange(values.shape[1] + 1.0).unfold(0, 2, 1).expand(len(value), -1, -1)
        item = torch.arange(len(value))
        streams[f"v{name}"] = Blocks(values, mask, seconds, item, torch.zeros_like(item))
    return streams


def fusion_of(file, case):
    weights = part(case, "w.")
    mixed = case["out.y"]
    if "scalar" in file.stem:
        config = MixerConfig(weighting="scalar")
    elif "xattn" in file.stem:
        flat = "flat" in file.stem
        config = MixerConfig(
            query_width=weights["Q"].shape[1],
            flat_tokens=mixed.shape[1] if flat else 0,
            stream_embedding="pe" in weights,
        )
    else:
        config = ChannelConcatConfig(norm=file.stem.endswith("_ln"))
    fusion = replace(config, name="mix").build(tuple(blocks_of(case)), mixed.shape[-1])
    fusion.load_state_dict(mixer_from_merv(weights))
    return fusion


@files("fuse_*")
def test_mixers(file):
    case = load(file)
    fusion, blocks = fusion_of(file, case), blocks_of(case)
    with torch.no_grad():
        fused, info = fusion(blocks)
    close(fused["mix"].values.flatten(1, 2), case["out.y"], 2e-5)
    if "out.weights" in case:
        message = [info["encoder_weights"].make(item, False)[0] for item in range(len(case["out.y"]))]
        got = torch.tensor([list(scene["weights"].values()) for scene in message])
        close(got, case["out.weights"].expand_as(got), 2e-5)
    if "xattn" in file.stem:
        with torch.no_grad():
            once, _ = fold(fusion)(blocks)
        close(once["mix"].values, fused["mix"].values, 1e-6)


@pytest.mark.parametrize(
    "file", [f for f in golden_files(SYSTEM, "fuse_*.safetensors") if "probe_r" in load(f)], ids=lambda f: f.stem
)
def test_mixer_gradients(file):
    case = load(file)
    fusion, blocks = fusion_of(file, case), blocks_of(case)
    for block in blocks.values():
        block.values.requires_grad_()
    fused, _ = fusion(blocks)
    (fused["mix"].values.flatten(1, 2) * case["probe_r"]).sum().backward()
    for name, block in blocks.items():
        close(block.values.grad.flatten(1, 2), case[f"grad.in.{name}"], 1e-4)
    dead = set(config_of(file)["params_with_zero_or_no_grad"])
    requested = {key: value for key, value in part(case, "grad.w.").items() if key not in dead}
    ours = {name: parameter.grad for name, parameter in fusion.named_parameters()}
    assert requested
    expected = mixer_from_merv(requested)
    assert expected.keys() == ours.keys()
    for name, value in expected.items():
        close(ours[name], value, 1e-4)
    if "attention.in_proj_bias" in requested:  # keys: cancels in the softmax; values: unused
        assert not torch.cat(requested["attention.in_proj_bias"].chunk(3)[1:]).abs().gt(1e-4).any()
