"""Configurations of the shipped language models of the toy world, shared by all tiny systems."""

from __future__ import annotations

from vidweave.language.causal import CausalConfig
from vidweave.language.layout import AnswerFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig

__all__ = ["VOCAB_SIZE", "layout", "llama_config", "t5_config"]

WIDTH = 128
VOCAB_SIZE = 520


def llama_config() -> CausalConfig:
    """Return the configuration of a Llama with about a million parameters."""
    return CausalConfig(
        config={
            "model_type": "llama",
            "vocab_size": VOCAB_SIZE,
            "hidden_size": WIDTH,
            "intermediate_size": 344,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
    )


def t5_config() -> Seq2SeqConfig:
    """Return the configuration of a T5 with about a million parameters."""
    return Seq2SeqConfig(
        config={
            "model_type": "t5",
            "vocab_size": VOCAB_SIZE,
            "d_model": WIDTH,
            "d_kv": 32,
            "d_ff": 256,
            "num_layers": 3,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "dropout_rate": 0.0,
            "feed_forward_proj": "gated-gelu",
            "pad_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 0,
        }
    )


def layout() -> TemplateLayout:
    """Return the prompt layout of tiny-base: the block `video`, then the question."""
    return TemplateLayout(
        parts=(Special(token="bos"), Slot(block="video"), Text(text=" {question}")), answer=AnswerFormat(prefix=" ")
    )
