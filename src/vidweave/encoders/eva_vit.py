"""EVA-CLIP ViT-g/14, the vision encoder of BLIP-2 and its successors: configuration for transformers, and conversion of
LAVIS' checkpoints in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.nn.keys import KeyTable

__all__ = ["CLIP_MEAN", "CLIP_STD", "EVA_VIT_G", "LAVIS_EVA_VIT", "eva_from_lavis", "eva_to_lavis"]

# Per-channel mean and standard deviation of OpenAI's CLIP for images in 0..1; also used by BLIP-2.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Without its last block.
EVA_VIT_G = {
    "model_type": "blip_2_vision_model",
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}

# LAVIS' VisionTransformer (without its `visual_encoder.`) → VisionTower. Everything after the last block used (block 40,
# the norm and the classifier of the full EVA) is dropped.
LAVIS_EVA_VIT = KeyTable(
    (
        ("cls_token", "tower.embeddings.class_embedding"),
        ("pos_embed", "tower.embeddings.position_embedding"),
        ("patch_embed.proj.", "tower.embeddings.patch_embedding."),
        ("blocks.{i}.norm1.", "tower.encoder.layers.{i}.layer_norm1."),
        ("blocks.{i}.norm2.", "tower.encoder.layers.{i}.layer_norm2."),
        ("blocks.{i}.attn.qkv.", "tower.encoder.layers.{i}.self_attn.qkv."),
        ("blocks.{i}.attn.proj.", "tower.encoder.layers.{i}.self_attn.projection."),
        ("blocks.{i}.mlp.", "tower.encoder.layers.{i}.mlp."),
    ),
    dropped=(r"blocks\.39\..*", r"(fc_)?norm\..*", r"head\..*"),
)

_BIAS = re.compile(r"(blocks\.\d+\.attn\.)(q|v)_bias")


def eva_from_lavis(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert LAVIS' names to VisionTower's; the biases of query and value are joined with zeros for the key.

    Raises:
        CheckpointError: an unknown key, or a bias without its counterpart.
    """
    plain = {key: value for key, value in state.items() if not _BIAS.fullmatch(key)}
    for prefix in {match[1] for key in state if (match := _BIAS.fullmatch(key))}:
        missing = [f"{prefix}{part}_bias" for part in "qv" if f"{prefix}{part}_bias" not in state]
        if missing:
            raise CheckpointError(f"the vision tower lacks {missing[0]}; query and value need a bias each")
        query, value = state[f"{prefix}q_bias"], state[f"{prefix}v_bias"]
        plain[f"{prefix}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return LAVIS_EVA_VIT.to_ours(plain)


def eva_to_lavis(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `eva_from_lavis`.

    Raises:
        CheckpointError: an unknown key, or a nonzero key bias, which LAVIS' layout cannot store.
    """
    theirs = LAVIS_EVA_VIT.to_theirs(state)
    for key in [key for key in theirs if key.endswith(".attn.qkv.bias")]:
        query, middle, value = theirs.pop(key).chunk(3)
        if bool(middle.any()):
            raise CheckpointError(f"{key} has a key bias that is not zero, which LAVIS' layout cannot store")
        prefix = key.removesuffix("qkv.bias")
        theirs |= {f"{prefix}q_bias": query, f"{prefix}v_bias": value}
    return theirs
