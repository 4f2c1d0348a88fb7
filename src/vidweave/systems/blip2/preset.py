"""BLIP-2 and InstructBLIP as configurations of the four slots."""

from __future__ import annotations

from typing import Any, Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, EVA_VIT_G
from vidweave.encoders.vision_tower import VisionTowerConfig, tower_config, tower_fields
from vidweave.language.causal import CausalConfig
from vidweave.language.families import BLIP2_FLAN_T5_XL, VICUNA_7B, VICUNA_13B
from vidweave.language.layout import OptionsFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, TextSpec, VisualSpec

__all__ = [
    "blip2",
    "blip2_flan_t5_xl",
    "instructblip_flan_t5_xl",
    "instructblip_vicuna_7b",
    "instructblip_vicuna_13b",
    "prompt_layout",
]

Form = Literal["blip2", "instructblip"]


def blip2(
    form: Form,
    *,
    name: str,
    vision: dict[str, Any],
    qformer: QFormerConfig,
    num_query_tokens: int,
    language_model: CausalConfig | Seq2SeqConfig,
    layout: TemplateLayout,
    num_frames: int = 4,
    decoding: dict[str, Any] | None = None,
) -> VideoLanguageConfig:
    """Combine a vision tower, a Q-Former per frame, and a language model that reads the tokens of all frames in order.

    Args:
        form: `instructblip` gives the question to the Q-Former too.
        vision: transformers' configuration of the tower; its final norm is trained and belongs to the port.
        num_frames: Frames sampled from a video, uniformly; an image is one.
    """
    tower = tower_config(tower_fields(vision))
    size = int(tower.image_size)
    pixels = VisualSpec(height=size, width=size, mean=CLIP_MEAN, std=CLIP_STD)
    port = PortConfig(
        trunk="qformer",
        input_width=tower.hidden_size,
        input_norm=True,
        norm_eps=tower.layer_norm_eps,
        num_query_tokens=num_query_tokens,
    )
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"vision": VisionTowerConfig(config=vision, specs={"video": pixels, "image": pixels})},
        streams={
            "video": StreamConfig(
                encoder="vision", modalities=("video", "image"), need=FrameNeed(num_frames=num_frames, still="once")
            )
        },
        connector=ConnectorConfig(
            trunks={"qformer": qformer},
            ports={"video": port},
            fusion=NoFusionConfig(),
            output_width=language_model.width,
        ),
        language_model=language_model,
        layout=layout,
        decoding=decoding or {},
    )
    return VideoLanguageConfig(spec, name=name)


def prompt_layout(is_seq2seq: bool, text: str = "{question}{options}") -> TemplateLayout:
    """Place the tokens of all frames, then the text: after bos for a causal model, before eos for an encoder."""
    words = Text(text=text)
    return TemplateLayout(
        parts=(Slot(block="video"), words, Special(token="eos"))
        if is_seq2seq
        else (Slot(block="video"), Special(token="bos", if_any=True), words),
        options=OptionsFormat(prefix=" Options: ", item="({letter}) {option}", separator=" "),
    )


def blip2_flan_t5_xl() -> VideoLanguageConfig:
    """BLIP-2 with Flan-T5-XL (arXiv 2301.12597)."""
    return blip2(
        "blip2",
        name="blip2-flan-t5-xl",
        vision=EVA_VIT_G,
        qformer=QFormerConfig(),
        num_query_tokens=32,
        language_model=Seq2SeqConfig(config=BLIP2_FLAN_T5_XL),
        layout=prompt_layout(True, "Question: {question}{options} Short answer:"),
        decoding={"max_new_tokens": 30},
    )


def _instructblip(name: str, language_model: CausalConfig | Seq2SeqConfig) -> VideoLanguageConfig:
    return blip2(
        "instructblip",
        name=name,
        vision=EVA_VIT_G,
        qformer=QFormerConfig(vocab_size=30523, text_spec=TextSpec(tokenizer="qformer", max_tokens=128)),
        num_query_tokens=32,
        language_model=language_model,
        layout=prompt_layout(language_model.kind == "seq2seq"),
        decoding={"max_new_tokens": 30},
    )


def instructblip_flan_t5_xl() -> VideoLanguageConfig:
    """InstructBLIP with Flan-T5-XL (arXiv 2305.06500)."""
    return _instructblip("instructblip-flan-t5-xl", Seq2SeqConfig(config=BLIP2_FLAN_T5_XL))


def instructblip_vicuna_7b() -> VideoLanguageConfig:
    """InstructBLIP with Vicuna-7B v1.1 (arXiv 2305.06500)."""
    return _instructblip("instructblip-vicuna-7b", CausalConfig(config=VICUNA_7B))


def instructblip_vicuna_13b() -> VideoLanguageConfig:
    """InstructBLIP with Vicuna-13B v1.1 (arXiv 2305.06500)."""
    return _instructblip("instructblip-vicuna-13b", CausalConfig(config=VICUNA_13B))
