"""The tiny models as configurations of the four slots."""

from __future__ import annotations

from vidweave.connectors.tiny import connector_config
from vidweave.encoders.tiny import PIXELS, WIDTH, encoder_config
from vidweave.language.tiny import VOCAB_SIZE, layout, llama_config, t5_config
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed

__all__ = ["PIXELS", "VOCAB_SIZE", "WIDTH", "encoder_config", "llama_config", "t5_config", "tiny_base"]


def tiny_base(*, num_frames: int = 8, num_query_tokens: int = 16, layers: int = 3) -> VideoLanguageConfig:
    """Combine one encoder, a Q-Former over the whole clip, and a Llama.

    Args:
        num_query_tokens: Tokens of a clip for the language model, independent of its length.
        layers: Number of Q-Former layers; each attends to the clip.
    """
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"rgb": encoder_config()},
        streams={
            "video": StreamConfig(encoder="rgb", modalities=("video", "image"), need=FrameNeed(num_frames=num_frames))
        },
        connector=connector_config(num_query_tokens=num_query_tokens, layers=layers),
        language_model=llama_config(),
        layout=layout(),
        decoding={"max_new_tokens": 80},
    )
    return VideoLanguageConfig(spec, name="tiny-base")
