"""The tiny models as configurations of the four slots."""

from __future__ import annotations

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.tiny import PIXELS, WIDTH, encoder_config
from vidweave.language.layout import AnswerFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.tiny import VOCAB_SIZE, llama_config, t5_config
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed

__all__ = ["PIXELS", "VOCAB_SIZE", "WIDTH", "encoder_config", "llama_config", "t5_config", "tiny_base"]


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
