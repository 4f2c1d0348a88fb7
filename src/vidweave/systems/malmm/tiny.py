"""MA-LMM in the toy world: a small Q-Former with a visual memory over long clips, and variants with other memories."""

from __future__ import annotations

from typing import Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.encoders.tiny import WIDTH, encoder_config
from vidweave.language.layout import AnswerFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.tiny import VOCAB_SIZE, llama_config
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, TextSpec

__all__ = ["QUERIES", "ROWS", "Row", "tiny_malmm", "tiny_malmm_row"]

Row = Literal["memory", "fifo", "mean", "concat", "none"]

# Row of the comparison → policy of its memory, entries, frames of a clip. `concat` keeps all of its 8 frames;
# every row gives the language model the same number of tokens.
ROWS: dict[str, tuple[str, int, int]] = {
    "memory": ("merge", 10, 100),
    "fifo": ("fifo", 10, 100),
    "mean": ("mean", 10, 100),
    "concat": ("concat", 7, 8),
    "none": ("none", 10, 100),
}
HIDDEN, QUERIES, WORDS = 96, 16, 32
CLIP_SECONDS = 37.5  # duration of the toy world's long clips in training


def tiny_malmm() -> VideoLanguageConfig:
    """Build the shipped model, which merges the most similar neighbors."""
    return tiny_malmm_row("memory")


def tiny_malmm_row(row: Row) -> VideoLanguageConfig:
    """Combine one encoder, a Q-Former that reads the question and a visual bank, and a Llama.

    Only the visual bank is kept: it does not depend on the question, so any question is answered exactly at
    any time, and a bank can be filled once for all questions in training. The paper's model has banks of queries too; its
    ablation finds most of the gain with the visual bank (61.5 of 63.0 on LVU, 48.3 without).
    """
    policy, length, num_frames = ROWS[row]
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"rgb": encoder_config()},
        streams={
            "video": StreamConfig(
                encoder="rgb",
                modalities=("video", "image"),
                need=FrameNeed(num_frames=num_frames),
                live_fps=num_frames / CLIP_SECONDS,
            )
        },
        connector=ConnectorConfig(
            trunks={
                "qformer": QFormerConfig(
                    hidden=HIDDEN,
                    layers=4,
                    heads=4,
                    intermediate=HIDDEN,
                    cross_attention_frequency=2,
                    encoder_width=WIDTH,
                    hidden_dropout=0.0,
                    attention_dropout=0.0,
                    vocab_size=VOCAB_SIZE,
                    max_positions=WORDS,
                    text_spec=TextSpec(tokenizer="language", template=" {question}", max_tokens=WORDS),
                    memory=MemoryConfig(length=length, policy=policy, banks="visual"),  # type: ignore[arg-type]
                )
            },
            ports={
                "video": PortConfig(
                    trunk="qformer",
                    input_width=WIDTH,
                    input_proj=WIDTH,
                    input_norm=True,
                    num_query_tokens=QUERIES,
                    num_time_positions=num_frames,
                    beyond_times="clamp",
                )
            },
            fusion=NoFusionConfig(),
            output_width=WIDTH,
        ),
        language_model=llama_config(),
        layout=TemplateLayout(
            parts=(Special(token="bos"), Slot(block="video"), Text(text=" {question}")), answer=AnswerFormat(prefix=" ")
        ),
        decoding={"max_new_tokens": 8},
    )
    return VideoLanguageConfig(spec, name="tiny-malmm" if row == "memory" else f"tiny-malmm-{row}")
