"""Mappings of MERV's released names to ours, part by part: projectors, mixers, LanguageBind, and timm's image encoders."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Literal

import torch
from torch import Tensor

from vidweave.encoders.languagebind import LANGUAGEBIND_KEYS
from vidweave.nn.keys import KeyTable

__all__ = [
    "PROJECTOR",
    "RESAMPLER",
    "dinov2_from_timm",
    "languagebind_from_hub",
    "mixer_from_merv",
    "projector_from_merv",
    "resampler_from_merv",
    "siglip_from_timm",
]

# A head is a linear layer (`projector.weight`), or a stack with activations between (`projector.0`, `.2`, `.4`). In the
# released files it has one more prefix `projector.`, from the pooling projector that contains it.
_HEAD = (
    ("projector.projector.weight", "head.layers.0.weight"),
    ("projector.projector.bias", "head.layers.0.bias"),
    ("projector.projector.0.", "head.layers.0."),
    ("projector.projector.2.", "head.layers.1."),
    ("projector.projector.4.", "head.layers.2."),
)
_REGNET = tuple(
    (f"convolution_pooling.{place}.b{block + 1}.{theirs}", f"pooling.{ours}.{block}.{name}")
    for place, ours in ((0, "before"), (2, "after"))
    for block in range(3)
    for theirs, name in (
        ("conv1.conv.", "expand.0."),
        ("conv1.bn.", "expand.1."),
        ("conv2.conv.", "mix.0."),
        ("conv2.bn.", "mix.1."),
        ("se.fc1.", "squeeze."),
        ("se.fc2.", "gate."),
        ("conv3.conv.", "project.0."),
        ("conv3.bn.", "project.1."),
        ("downsample.conv.", "shortcut.0."),
        ("downsample.bn.", "shortcut.1."),
    )
)
_CONV3D = (("convolution_pooling.0.weight", "pooling.conv.weight"), ("convolution_pooling.0.bias", "pooling.conv.bias"))
PROJECTOR = KeyTable((*_HEAD, *_REGNET, *_CONV3D))

RESAMPLER = KeyTable(
    (
        ("query_tokens", "port.query_tokens"),
        ("cross_attn.norm1.", "trunk.key_norm."),
        ("cross_attn.norm2.", "trunk.norm."),
        ("cross_attn.xattn.q.", "trunk.attention.query."),
        ("cross_attn.xattn.k.", "trunk.attention.key."),
        ("cross_attn.xattn.v.", "trunk.attention.value."),
        ("cross_attn.xattn.proj.", "trunk.output."),
        ("cross_attn.mlp.fc1.", "trunk.up."),
        ("cross_attn.mlp.fc2.", "trunk.down."),
        *((theirs, f"trunk.{ours}") for theirs, ours in _HEAD),
    )
)


def projector_from_merv(
    state: Mapping[str, Tensor], where: Literal["projector", "mlp"] = "projector"
) -> dict[str, Tensor]:
    """Rename a released projector's keys to those of `Projector`, or of its head `MLP`.

    Raises:
        CheckpointError: unknown keys.
    """
    ours = PROJECTOR.to_ours(state)
    return ours if where == "projector" else {key.removeprefix("head."): value for key, value in ours.items()}


def resampler_from_merv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the attentive pooler's keys to `trunk.…` of `Resampler` and `port.query_tokens`.

    Raises:
        CheckpointError: unknown keys.
    """
    split = {key: value for key, value in state.items() if ".xattn.kv." not in key}
    for key in state.keys() - split.keys():
        name = key.rpartition(".")[2]
        split[f"cross_attn.xattn.k.{name}"], split[f"cross_attn.xattn.v.{name}"] = state[key].chunk(2)
    return RESAMPLER.to_ours(split)


# Only the queries and keys of the attention module are used: its values are the tokens themselves. A bias of the keys adds
# the same to every logit and cancels.
_MIXER = KeyTable(
    (
        ("Q", "weighting.query"),
        ("attention.q_proj_weight", "weighting.query_proj.weight"),
        ("attention.q_proj_bias", "weighting.query_proj.bias"),
        ("attention.k_proj_weight", "weighting.key_proj.weight"),
        ("pe", "stream_embedding"),
        ("scalar", "weighting.logits"),
        ("0.weight", "norm.weight"),
        ("0.bias", "norm.bias"),
        ("1.projector.", "proj."),
        ("projector.", "proj."),
    ),
    dropped=(r"attention\.v_proj_weight", r"attention\.out_proj\..*"),
)


def mixer_from_merv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the released `feature_fusion`'s keys to those of `Mixer` or `ChannelConcat`.

    Raises:
        CheckpointError: unknown keys.
    """
    split = {key: value for key, value in state.items() if key != "attention.in_proj_bias"}
    if "attention.in_proj_bias" in state:
        split["attention.q_proj_bias"] = state["attention.in_proj_bias"].chunk(3)[0]
    return _MIXER.to_ours(split)


# timm's vision transformers (0.9), split by `_split_qkv` before.
_TIMM_SIGLIP = KeyTable(
    (
        ("patch_embed.proj.", "embeddings.patch_embedding."),
        ("pos_embed", "embeddings.position_embedding.weight"),
        ("blocks.{i}.norm1.", "encoder.layers.{i}.layer_norm1."),
        ("blocks.{i}.norm2.", "encoder.layers.{i}.layer_norm2."),
        ("blocks.{i}.attn.q.", "encoder.layers.{i}.self_attn.q_proj."),
        ("blocks.{i}.attn.k.", "encoder.layers.{i}.self_attn.k_proj."),
        ("blocks.{i}.attn.v.", "encoder.layers.{i}.self_attn.v_proj."),
        ("blocks.{i}.attn.proj.", "encoder.layers.{i}.self_attn.out_proj."),
        ("blocks.{i}.mlp.", "encoder.layers.{i}.mlp."),
        ("norm.", "post_layernorm."),
    ),
    dropped=(r"attn_pool\..*",),
)
_TIMM_DINOV2 = KeyTable(
    (
        ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("mask_token", "embeddings.mask_token"),
        ("blocks.{i}.norm1.", "encoder.layer.{i}.norm1."),
        ("blocks.{i}.norm2.", "encoder.layer.{i}.norm2."),
        ("blocks.{i}.attn.q.", "encoder.layer.{i}.attention.q_proj."),
        ("blocks.{i}.attn.k.", "encoder.layer.{i}.attention.k_proj."),
        ("blocks.{i}.attn.v.", "encoder.layer.{i}.attention.v_proj."),
        ("blocks.{i}.attn.proj.", "encoder.layer.{i}.attention.o_proj."),
        ("blocks.{i}.ls1.gamma", "encoder.layer.{i}.layer_scale1.lambda1"),
        ("blocks.{i}.ls2.gamma", "encoder.layer.{i}.layer_scale2.lambda1"),
        ("blocks.{i}.mlp.", "encoder.layer.{i}.mlp."),
        ("norm.", "layernorm."),
    )
)


def siglip_from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's SigLIP to transformers' `SiglipVisionModel` without its pooling head. Its activation is the exact GELU.

    Raises:
        CheckpointError: unknown keys.
    """
    split = _split_qkv(state)
    return _TIMM_SIGLIP.to_ours({**split, "pos_embed": split["pos_embed"][0]})


def dinov2_from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's DINOv2 with registers to transformers' `Dinov2WithRegistersModel`.

    timm folds the class token's position into the token and drops the mask token; both become zeros.

    Raises:
        CheckpointError: unknown keys.
    """
    split = _split_qkv(state)
    positions = split["pos_embed"]
    if isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        positions = torch.cat([torch.zeros_like(positions[:, :1]), positions], 1)
    mask = torch.zeros(1, positions.shape[-1], dtype=positions.dtype)
    return _TIMM_DINOV2.to_ours({"mask_token": mask, **split, "pos_embed": positions})


def _split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {key: value for key, value in state.items() if ".attn.qkv." not in key}
    for key in state.keys() - plain.keys():
        for part, value in zip("qkv", state[key].chunk(3), strict=True):
            plain[key.replace(".qkv.", f".{part}.")] = value
    return plain


def languagebind_from_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename LanguageBind's released file, or its vision model alone, to `LanguageBind`; text and projections are dropped.

    Raises:
        CheckpointError: unknown keys of the vision model.
    """
    beside = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
    own = {k.removeprefix("vision_model."): v for k, v in state.items() if not k.startswith(beside)}
    ours = LANGUAGEBIND_KEYS.to_ours(own)
    return {key: value[0] if key.endswith("temporal_embedding") else value for key, value in ours.items()}
