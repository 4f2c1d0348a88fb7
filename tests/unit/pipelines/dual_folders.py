"""Tiny random folders of dual encoders, every file as transformers publishes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

VOCABULARY, TEXT_TOKENS, SIDE, PATCH = 272, 24, 24, 8
_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": TEXT_TOKENS,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
_VISION = {k: _TEXT[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
_VISION |= {"image_size": SIDE, "patch_size": PATCH}
_CLIP = {"text_config": {**_TEXT, "projection_dim": 12}, "vision_config": {**_VISION, "projection_dim": 12}}
_SIGLIP = {"text_config": {**_TEXT, "projection_size": 16}, "vision_config": _VISION}
_NAFLEX = {"text_config": _SIGLIP["text_config"], "vision_config": {**_VISION, "num_patches": 9}}
_SQUARE = {"size": {"height": SIDE, "width": SIDE}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CROP = {
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}

# Family → class, configuration, preprocessor, image processor of transformers without torchvision
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "clip": (tf.CLIPModel, tf.CLIPConfig(**_CLIP, projection_dim=12), _CROP, "CLIPImageProcessor"),
    "metaclip_2": (tf.MetaClip2Model, tf.MetaClip2Config(**_CLIP, projection_dim=12), _CROP, "CLIPImageProcessor"),
    "siglip": (tf.SiglipModel, tf.SiglipConfig(**_SIGLIP), _SQUARE, "SiglipImageProcessor"),
    "siglip2": (
        tf.Siglip2Model,
        tf.Siglip2Config(**_NAFLEX),
        {"patch_size": PATCH, "max_num_patches": 12, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        "Siglip2ImageProcessor",
    ),
}


def dual_folder(family: str, folder: Path) -> Path:
    """Write a random model of `family` with tokenizer and preprocessor into `folder`."""
    cls, config, preprocessor, processor = FAMILIES[family]
    torch.manual_seed(5)
    cls(config).save_pretrained(folder)
    (gemma_tokenizer() if family == "siglip2" else byte_tokenizer()).save_pretrained(folder)
    data = {"image_processor_type": processor, **preprocessor}
    (folder / "preprocessor_config.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def byte_tokenizer() -> Any:
    """One token for each byte, between a begin and an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)} | {"<s>": 256, "</s>": 257, "<pad>": 258}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def gemma_tokenizer() -> Any:
    """SigLIP 2's own class, with one token for each byte."""
    vocabulary = {name: i for i, name in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))}
    vocabulary |= {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}
    return tf.Siglip2Tokenizer(vocab=vocabulary, merges=[])
