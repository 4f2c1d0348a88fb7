"""Tiny random vision-language models, written by transformers with the layout of the published folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from vidweave.loading import quiet_loading
from vidweave.pipelines.vlm.family import FamilyFiles
from vidweave.types import Clip, Frames

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<image>",
    "<video>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    "<IMG_CONTEXT>",
    "<img>",
    "</img>",
    "<|image|>",
    "<|video|>",
    "<|image>",
    "<image|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<im_patch>",
    "<im_col>",
    "<im_start>",
    "<low_res_im_start>",
    "<frame_start>",
    "<im_end>",
    "<frame_end>",
    "<im_low>",
)
# Tokens that a family's tokenizer gives names of their own
NAMED_TOKENS: dict[str, dict[str, str]] = {
    "internvl": {
        "video_token": "<video>",
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
    },
    "gemma4": {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    },
}
QWEN_MARKS = {
    "video": "<|vision_start|><|video_pad|><|vision_end|>",
    "image": "<|vision_start|><|image_pad|><|vision_end|>",
}
BAR_MARKS = {"video": "<|video|>", "image": "<|image|>"}
GLM_MARKS = {
    "video": "<|begin_of_video|><|video|><|end_of_video|>",
    "image": "<|begin_of_image|><|image|><|end_of_image|>",
}
PLAIN_MARKS = {"video": "<video>", "image": "<image>"}


QUICK = ("qwen2_5_vl", "qwen3_vl", "llava_onevision", "smolvlm")


def quick_first(names: Iterable[str]) -> list[Any]:
    """Parameters of a test: families that every run of the suite tries, and the others, which are slow tests."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def tokenizer(name: str = "") -> tf.PreTrainedTokenizerFast:
    """One token per byte, and the special ones; `name` is the family whose named tokens it has."""
    named = NAMED_TOKENS.get(name, {})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        **({"extra_special_tokens": named} if named else {}),
    )
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)}, replace_extra_special_tokens=False)
    return made


def chat_template(marks: Mapping[str, str]) -> str:
    """A chat template that takes content as a list of parts, as published ones do."""
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'video' %}"
        + marks["video"]
        + "{% elif c['type'] == 'image' %}"
        + marks["image"]
        + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


LM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 384,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
}
VIS: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
QWEN_VIS: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 32,
}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}


@dataclass(frozen=True)
class Tiny:
    """How one family's tiny model is made: its configuration from token ids, and the preprocessing settings."""

    config: Callable[[Callable[[str], int], dict[str, Any]], Any]
    video: Mapping[str, Any]
    marks: Mapping[str, str] = None  # type: ignore[assignment]
    image: Mapping[str, Any] | None = None
    model_class: str = ""
    is_paired: bool = False  # two frames are one patch


def _qwen_ids(i: Callable[[str], int]) -> dict[str, int]:
    return {
        "image_token_id": i("<|image_pad|>"),
        "video_token_id": i("<|video_pad|>"),
        "vision_start_token_id": i("<|vision_start|>"),
        "vision_end_token_id": i("<|vision_end|>"),
    }


QWEN_PIXELS = {"size": {"shortest_edge": 56 * 56, "longest_edge": 56 * 84}, "patch_size": 14}
QWEN3_PIXELS = {
    "size": {"shortest_edge": 64 * 64, "longest_edge": 64 * 64 * 12},
    "patch_size": 16,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}

CLIP_PIXELS = {"size": {"shortest_edge": 28}, "do_center_crop": True, "crop_size": {"height": 28, "width": 28}}
CLIP_VIS = {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 7, **VIS, "num_hidden_layers": 3}


def _llava_ids(i: Callable[[str], int]) -> dict[str, int]:
    return {"image_token_index": i("<image>"), "video_token_index": i("<video>")}


def _glm(config: Any) -> Callable[[Callable[[str], int], dict[str, Any]], Any]:
    return lambda i, lm: config(
        text_config={**lm, "head_dim": 8, "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "intermediate_size": 48,
            "image_size": 56,
        },
        image_token_id=i("<|image|>"),
        video_token_id=i("<|video|>"),
        image_start_token_id=i("<|begin_of_image|>"),
        image_end_token_id=i("<|end_of_image|>"),
        video_start_token_id=i("<|begin_of_video|>"),
        video_end_token_id=i("<|end_of_video|>"),
    )


GLM_PIXELS = {"size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56 * 6}}

FAMILIES: dict[str, Tiny] = {
    "internvl": Tiny(
        lambda i, lm: tf.InternVLConfig(
            text_config={"model_type": "qwen2", **lm},
            vision_config={"image_size": [56, 56], "patch_size": [14, 14], **VIS},
            image_token_id=i("<IMG_CONTEXT>"),
            image_seq_length=4,
        ),
        {"size": {"height": 56, "width": 56}},
        PLAIN_MARKS,
        None,
        "InternVLForConditionalGeneration",
    ),
    "gemma4": Tiny(
        lambda i, lm: tf.Gemma4Config(
            text_config={
                **lm,
                "head_dim": 8,
                "global_head_dim": 8,
                "layer_types": ["sliding_attention", "full_attention"],
                "sliding_window": 64,
                "vocab_size_per_layer_input": 384,
                "hidden_size_per_layer_input": 8,
            },
            vision_config={**VIS, "num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 64},
            audio_config=None,
            image_token_id=i("<|image|>"),
            video_token_id=i("<|video|>"),
            boi_token_id=i("<|image>"),
            eoi_token_id=i("<image|>"),
        ),
        {"max_soft_tokens": 70, "patch_size": 16, "pooling_kernel_size": 3},
        BAR_MARKS,
        None,
        "Gemma4ForConditionalGeneration",
    ),
    "glm4v": Tiny(_glm(tf.Glm4vConfig), GLM_PIXELS, GLM_MARKS, None, "Glm4vForConditionalGeneration", is_paired=True),
    "glm46v": Tiny(
        _glm(tf.Glm46VConfig), GLM_PIXELS, GLM_MARKS, None, "Glm46VForConditionalGeneration", is_paired=True
    ),
    "video_llava": Tiny(
        lambda i, lm: tf.VideoLlavaConfig(
            text_config={"model_type": "llama", **lm}, vision_config=CLIP_VIS, image_seq_length=16, **_llava_ids(i)
        ),
        CLIP_PIXELS,
        PLAIN_MARKS,
        None,
        "VideoLlavaForConditionalGeneration",
    ),
    "llava_next_video": Tiny(
        lambda i, lm: tf.LlavaNextVideoConfig(
            text_config={"model_type": "llama", **lm}, vision_config=CLIP_VIS, **_llava_ids(i)
        ),
        CLIP_PIXELS,
        PLAIN_MARKS,
        None,
        "LlavaNextVideoForConditionalGeneration",
    ),
    "video_llama_3": Tiny(
        lambda i, lm: tf.VideoLlama3Config(
            text_config={"model_type": "qwen2", **lm},
            vision_config={**VIS, "patch_size": 14},
            image_token_id=i("<|image_pad|>"),
            video_token_id=i("<|video_pad|>"),
        ),
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56 * 6}},
        {"video": "<|video_pad|>", "image": "<|image_pad|>"},
        None,
        "VideoLlama3ForConditionalGeneration",
    ),
    "molmo2": Tiny(
        lambda i, lm: tf.Molmo2Config(
            text_config={**lm, "head_dim": 8, "additional_vocab_size": 8},
            vision_config={
                **VIS,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "image_size": [42, 42],
                "patch_size": 14,
                "num_position_embeddings": 9,
            },
            adapter_config={
                "vision_feature_layer": [-1],
                "hidden_size": 32,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "intermediate_size": 48,
                "text_hidden_size": 32,
            },
            image_patch_id=i("<im_patch>"),
            image_start_token_id=i("<im_start>"),
            image_end_token_id=i("<im_end>"),
            low_res_image_start_token_id=i("<low_res_im_start>"),
            frame_start_token_id=i("<frame_start>"),
            frame_end_token_id=i("<frame_end>"),
        ),
        {"size": {"height": 42, "width": 42}, "pooling_size": [2, 2], "do_rescale": True, "do_normalize": True},
        BAR_MARKS,
        None,
        "Molmo2ForConditionalGeneration",
    ),
    "qwen2_vl": Tiny(
        lambda i, lm: tf.Qwen2VLConfig(
            text_config={**lm, "rope_parameters": ROPE},
            vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
            **_qwen_ids(i),
        ),
        QWEN_PIXELS,
        QWEN_MARKS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN_PIXELS},
        "Qwen2VLForConditionalGeneration",
        is_paired=True,
    ),
    "qwen2_5_vl": Tiny(
        lambda i, lm: tf.Qwen2_5_VLConfig(
            text_config={**lm, "rope_parameters": ROPE},
            vision_config={**QWEN_VIS, "fullatt_block_indexes": [1], "tokens_per_second": 2},
            **_qwen_ids(i),
        ),
        QWEN_PIXELS,
        QWEN_MARKS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN_PIXELS},
        "Qwen2_5_VLForConditionalGeneration",
        is_paired=True,
    ),
    "qwen3_vl": Tiny(
        lambda i, lm: tf.Qwen3VLConfig(
            text_config={**lm, "head_dim": 8, "rope_parameters": ROPE},
            vision_config={**QWEN_VIS, "deepstack_visual_indexes": [0]},
            **_qwen_ids(i),
        ),
        QWEN3_PIXELS,
        QWEN_MARKS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN3_PIXELS},
        "Qwen3VLForConditionalGeneration",
        is_paired=True,
    ),
    "qwen3_5": Tiny(
        lambda i, lm: tf.Qwen3_5Config(
            text_config={
                **lm,
                "head_dim": 8,
                "rope_parameters": {**ROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 1.0},
                "layer_types": ["linear_attention", "full_attention"],
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
            },
            vision_config={**QWEN_VIS, "patch_size": 16},
            **_qwen_ids(i),
        ),
        QWEN3_PIXELS,
        QWEN_MARKS,
        {"image_processor_type": "Qwen2VLImageProcessor", **QWEN3_PIXELS},
        "Qwen3_5ForConditionalGeneration",
        is_paired=True,
    ),
    "llava_onevision": Tiny(
        lambda i, lm: tf.LlavaOnevisionConfig(
            text_config={"model_type": "qwen2", **lm},
            vision_config={
                "model_type": "siglip_vision_model",
                "image_size": 56,
                "patch_size": 14,
                "vision_use_head": False,
                **VIS,
            },
            image_token_id=i("<image>"),
            video_token_id=i("<video>"),
        ),
        {"size": {"height": 56, "width": 56}},
        PLAIN_MARKS,
        {"image_processor_type": "LlavaOnevisionImageProcessor"},
        "LlavaOnevisionForConditionalGeneration",
    ),
    "smolvlm": Tiny(
        lambda i, lm: tf.SmolVLMConfig(
            text_config={"model_type": "llama", **lm},
            vision_config={"image_size": 64, "patch_size": 16, **VIS},
            image_token_id=i("<image>"),
            scale_factor=2,
        ),
        {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 64}},
        PLAIN_MARKS,
        {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 64}},
        "SmolVLMForConditionalGeneration",
    ),
}


def _parts(name: str) -> tuple[Any, Any]:
    """Tokenizer with its chat template, and configuration."""
    tiny, tok = FAMILIES[name], tokenizer(name)
    tok.chat_template = chat_template(tiny.marks)
    lm = {**LM, "eos_token_id": tok.eos_token_id, "pad_token_id": tok.pad_token_id, "bos_token_id": None}
    return tok, tiny.config(lambda token: int(tok.convert_tokens_to_ids(token)), lm)


def files_of(name: str) -> FamilyFiles:
    """What a family reads of a folder, without a folder."""
    tok, config = _parts(name)
    tiny = FAMILIES[name]
    return FamilyFiles(Path(name), config, tok, video=tiny.video, image=tiny.image or tiny.video)


def write(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write the tiny model of a family into `folder`."""
    tiny, (tok, config) = FAMILIES[name], _parts(name)
    torch.manual_seed(0)
    model = getattr(tf, tiny.model_class)(config)
    model.generation_config = tf.GenerationConfig(eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id)
    with quiet_loading():
        model.to(dtype).save_pretrained(folder)
    tok.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(tiny.video), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(tiny.image or tiny.video), encoding="utf-8")
    return folder


def clip_at(seconds: list[float], size: tuple[int, int] = (40, 60), seed: int = 0) -> Clip:
    """A clip whose frames stand at these times."""
    values = np.random.default_rng(seed).integers(0, 255, (len(seconds), *size, 3), dtype=np.uint8)
    return Clip(Frames(values, np.asarray(seconds, dtype=np.float64), np.arange(len(seconds))))
