"""The tiny models as configurations of the four slots."""

from __future__ import annotations

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.language.causal import CausalConfig
from vidweave.language.layout import AnswerFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, VisualSpec

__all__ = ["PIXELS", "VOCAB_SIZE", "WIDTH", "encoder_config", "llama_config", "t5_config", "tiny_base"]

WIDTH = 128
VOCAB_SIZE = 520
PIXELS = VisualSpec(height=48, width=48, mean=(0.35, 0.35, 0.35), std=(0.25, 0.25, 0.25))


def encoder_config() -> PatchEncoderConfig:
    """The general eye: 48 x 48 pixels → 36 tokens."""
    return PatchEncoderConfig(
        size=48, patch=8, width=WIDTH, layers=4, heads=4, chunk=1024, specs={"video": PIXELS, "image": PIXELS}
    )


def llama_config() -> CausalConfig:
    """A Llama of about a million parameters."""
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
    """A T5 of about a million parameters."""
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


def tiny_base(*, num_frames: int = 8, num_query_tokens: int = 16, layers: int = 3) -> VideoLanguageConfig:
    """One eye, a Q-Former over the whole clip, and a Llama.

    Args:
        num_query_tokens: Tokens that the language model gets for a clip, however long it is.
        layers: Of the Q-Former; each looks at the clip.
    """
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"rgb": encoder_config()},
        streams={
            "video": StreamConfig(encoder="rgb", modalities=("video", "image"), need=FrameNeed(num_frames=num_frames))
        },
        connector=ConnectorConfig(
            trunks={
                "qformer": QFormerConfig(
                    hidden=WIDTH,
                    layers=layers,
                    heads=4,
                    intermediate=2 * WIDTH,
                    cross_attention_frequency=1,
                    encoder_width=WIDTH,
                    hidden_dropout=0.0,
                    attention_dropout=0.0,
                )
            },
            ports={
                "video": PortConfig(
                    trunk="qformer",
                    input_width=WIDTH,
                    input_proj=WIDTH,
                    input_norm=True,
                    num_query_tokens=num_query_tokens,
                    span="clip",
                    num_time_positions=64,
                )
            },
            fusion=NoFusionConfig(),
            output_width=WIDTH,
        ),
        language_model=llama_config(),
        layout=TemplateLayout(
            parts=(Special(token="bos"), Slot(block="video"), Text(text=" {question}")), answer=AnswerFormat(prefix=" ")
        ),
        decoding={"max_new_tokens": 80},
    )
    return VideoLanguageConfig(spec, name="tiny-base")
