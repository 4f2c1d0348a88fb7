"""Tiny models whose encoder or language model is any family of transformers."""

import torch
from tiny_models import LLAMA, tiny_config
from transformers import CONFIG_MAPPING

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.families import FAMILIES
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import StreamConfig
from vidweave.nn.config_keys import known_keys
from vidweave.types import FrameNeed, VisualSpec

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
_SMALL |= {"image_size": 12, "patch_size": 4}
_OWN = {
    "blip_2_vision_model": {},
    "instructblip_vision_model": {},
    "clip_vision_model": {},
    "siglip_vision_model": {},
    "vit": {},
    "dinov2": {"mlp_ratio": 2},
    "dinov2_with_registers": {"num_register_tokens": 3, "mlp_ratio": 2},
    "vivit": {"num_frames": 4, "tubelet_size": [2, 4, 4]},
    "videomae": {"num_frames": 4, "tubelet_size": 2},
    "timesformer": {"num_frames": 2},
}
_OWN["vjepa2"] = {"crop_size": 12, "frames_per_clip": 4, "tubelet_size": 2, "mlp_ratio": 2, "pred_num_hidden_layers": 1}
_OWN["vjepa2"] |= {"pred_hidden_size": 8, "pred_num_attention_heads": 2}
_OWN["videoprism_vision_model"] = {"num_frames": 2, "tubelet_size": [1, 4, 4], "num_spatial_layers": 2}
_OWN["videoprism_vision_model"] |= {"num_temporal_layers": 1, "num_auxiliary_layers": 0}


def _own_fields(name: str) -> dict:
    """Of the common sizes, those that the family has, and its own."""
    known = known_keys(CONFIG_MAPPING[name])
    return {key: value for key, value in _SMALL.items() if key in known} | _OWN[name]


TOWERS = {name: {"model_type": name, **_own_fields(name)} for name in _OWN}
# Halved three times between its stages: frames of another size, wider at the end.
TOWERS["hiera"] = {"model_type": "hiera", "embed_dim": 2, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
TOWERS["hiera"] |= {"image_size": [32, 32]}
_OPT = {"hidden_size": 24, "ffn_dim": 44, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 24}
_TOKENS = {"vocab_size": 40, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_MOE = {"num_experts": 4, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 12, "num_experts_per_tok": 2}
_GROUPED = LLAMA | {"num_key_value_heads": 2}
CAUSAL = {
    "llama": LLAMA,
    "mistral": _GROUPED | {"model_type": "mistral"},
    "qwen2": _GROUPED | {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": _GROUPED | {"model_type": "qwen3", "head_dim": 6},
    "qwen2_moe": _GROUPED | _MOE | {"model_type": "qwen2_moe"},
    "opt": {"model_type": "opt", **_OPT, **_TOKENS},
}


def tower_model(model_type: str, **changes) -> VideoLanguageModel:
    """A causal model that sees through a tower of this family."""
    side = 32 if model_type == "hiera" else 12
    pixels = VisualSpec(height=side, width=side)
    encoder = VisionTowerConfig(config=TOWERS[model_type], specs={"video": pixels}, **changes)
    window = TOWERS[model_type].get(FAMILIES[model_type].num_frames, 1)
    need = FrameNeed(num_frames=2 * window, window=window)
    qformer = QFormerConfig(hidden=16, layers=2, heads=2, intermediate=20, encoder_width=16)
    port = PortConfig(trunk="qformer", input_width=16, input_norm=True, num_query_tokens=5)
    config = tiny_config(
        "causal",
        encoders={"rgb": encoder},
        streams={"video": StreamConfig(encoder="rgb", modalities=("video",), need=need)},
        connector=ConnectorConfig(
            trunks={"qformer": qformer}, ports={"video": port}, fusion=NoFusionConfig(), output_width=24
        ),
    )
    return VideoLanguageModel(config).eval()


def randomise(module):
    """Every weight random, also those that start as zeros or ones."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return module.eval()
