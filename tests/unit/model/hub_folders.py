"""Tiny random folders of language models and towers, every file as transformers publishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 272  # 256 bytes and some special tokens, padded as published tables are
_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 320, "vocab_size": VOCABULARY}
_ENDS = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
_ROTARY = {k: v for k, v in _TEXT.items() if k != "head_dim"}

# Family → class, configuration, whether its tokenizer has a chat template
LANGUAGE_MODELS: dict[str, tuple[Any, Any, bool]] = {
    "llama": (tf.LlamaForCausalLM, tf.LlamaConfig(**_TEXT, **_ENDS), True),
    "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config(**_ROTARY, **_ENDS), True),
    "qwen3": (tf.Qwen3ForCausalLM, tf.Qwen3Config(**_TEXT, **_ENDS), True),
    "mistral": (tf.MistralForCausalLM, tf.MistralConfig(**_TEXT, **_ENDS), True),
    "gemma2": (tf.Gemma2ForCausalLM, tf.Gemma2Config(**_TEXT, **_ENDS), True),
    "gemma3_text": (tf.Gemma3ForCausalLM, tf.Gemma3TextConfig(**_TEXT, **_ENDS), True),
    "phi3": (tf.Phi3ForCausalLM, tf.Phi3Config(**_ROTARY, **_ENDS), True),
    "olmo2": (tf.Olmo2ForCausalLM, tf.Olmo2Config(**_ROTARY, **_ENDS), True),
    "smollm3": (tf.SmolLM3ForCausalLM, tf.SmolLM3Config(**_ROTARY, **_ENDS), True),
    "granite": (tf.GraniteForCausalLM, tf.GraniteConfig(**_ROTARY, **_ENDS), True),
    "opt": (
        tf.OPTForCausalLM,
        tf.OPTConfig(
            hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=320, vocab_size=VOCABULARY, **_ENDS,
        ),
        False,
    ),
    "gpt2": (
        tf.GPT2LMHeadModel,
        tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=320, vocab_size=VOCABULARY, **_ENDS),
        False,
    ),
    "gpt_neox": (
        tf.GPTNeoXForCausalLM,
        tf.GPTNeoXConfig(**{k: v for k, v in _ROTARY.items() if k != "num_key_value_heads"}, **_ENDS),
        False,
    ),
    "t5": (
        tf.T5ForConditionalGeneration,
        tf.T5Config(
            d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=VOCABULARY, decoder_start_token_id=258,
            eos_token_id=257, pad_token_id=258,
        ),
        False,
    ),
    "bart": (
        tf.BartForConditionalGeneration,
        tf.BartConfig(
            d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=320, vocab_size=VOCABULARY,
            decoder_start_token_id=257, **_ENDS,
        ),
        False,
    ),
}  # fmt: skip

SIDE, PATCH = 28, 7  # 16 patches
_VISION = {**_SIZES, "image_size": SIDE, "patch_size": PATCH}
_BERT = {"vocab_size": 20, **_SIZES}
_SQUARE, _SHORT = {"height": SIDE, "width": SIDE}, {"shortest_edge": SIDE}
_CLIP_PIXELS = {"size": _SHORT, "crop_size": _SQUARE}

# Family → class, configuration, preprocessor
TOWERS: dict[str, tuple[Any, Any, Any]] = {
    "clip": (
        tf.CLIPModel,
        tf.CLIPConfig(text_config={**_BERT, "projection_dim": 16}, vision_config=_VISION, projection_dim=16),
        tf.CLIPImageProcessorPil(**_CLIP_PIXELS),
    ),
    "clip_vision_model": (tf.CLIPVisionModel, tf.CLIPVisionConfig(**_VISION), tf.CLIPImageProcessorPil(**_CLIP_PIXELS)),
    "siglip": (
        tf.SiglipModel,
        tf.SiglipConfig(text_config=_BERT, vision_config=_VISION),
        tf.SiglipImageProcessorPil(size=_SQUARE),
    ),
    "siglip_vision_model": (
        tf.SiglipVisionModel,
        tf.SiglipVisionConfig(**_VISION),
        tf.SiglipImageProcessorPil(size=_SQUARE),
    ),
    "dinov2": (
        tf.Dinov2Model,
        tf.Dinov2Config(**_VISION),
        tf.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=_SQUARE),
    ),
    "dinov2_with_registers": (
        tf.Dinov2WithRegistersModel,
        tf.Dinov2WithRegistersConfig(**_VISION, num_register_tokens=3),
        tf.BitImageProcessorPil(**_CLIP_PIXELS),
    ),
    "vit": (tf.ViTModel, tf.ViTConfig(**_VISION), tf.ViTImageProcessorPil(size=_SQUARE)),
    "deit": (tf.DeiTModel, tf.DeiTConfig(**_VISION), tf.DeiTImageProcessorPil(size=_SQUARE, do_center_crop=False)),
    "beit": (tf.BeitModel, tf.BeitConfig(**_VISION), tf.BeitImageProcessorPil(size=_SQUARE)),
    "ijepa": (tf.IJepaModel, tf.IJepaConfig(**_VISION), tf.ViTImageProcessorPil(size=_SQUARE)),
    "vit_msn": (tf.ViTMSNModel, tf.ViTMSNConfig(**_VISION), tf.ViTImageProcessorPil(size=_SQUARE)),
    "videomae": (
        tf.VideoMAEModel,
        tf.VideoMAEConfig(**_VISION, num_frames=4, tubelet_size=2, use_mean_pooling=True),
        tf.VideoMAEImageProcessorPil(**_CLIP_PIXELS),
    ),
    "timesformer": (
        tf.TimesformerModel,
        tf.TimesformerConfig(**_VISION, num_frames=4),
        tf.VideoMAEImageProcessorPil(**_CLIP_PIXELS),
    ),
    "hiera": (
        tf.HieraModel,
        tf.HieraConfig(
            image_size=[32, 32], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3], embed_dim=16, depths=[1, 1],
            num_heads=[1, 2], num_query_pool=1, masked_unit_size=[4, 4],
        ),
        tf.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    ),
}  # fmt: skip


def byte_tokenizer(template: str | None = None, **changes: Any) -> Any:
    """A byte-level tokenizer of 259 tokens; the begin token opens every turn, as in SmolLM2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokens = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>", **changes}
    made = tf.PreTrainedTokenizerFast(tokenizer_object=inner, **tokens)
    made.chat_template = template
    return made


def write_language_model(folder: Path, family: str, **saving: Any) -> Path:
    """A language model with tokenizer and generation_config."""
    cls, config, has_template = LANGUAGE_MODELS[family]
    torch.manual_seed(1)
    cls(config).save_pretrained(folder, **saving)
    byte_tokenizer(CHATML if has_template else None).save_pretrained(folder)
    return folder


def write_tower(folder: Path, family: str, **saving: Any) -> Path:
    """A tower with preprocessor_config.json."""
    cls, config, processor = TOWERS[family]
    torch.manual_seed(2)
    cls(config).save_pretrained(folder, **saving)
    processor.save_pretrained(folder)
    return folder
