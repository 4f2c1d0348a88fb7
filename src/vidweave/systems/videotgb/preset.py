"""VideoTGB as configurations of the four slots: BLIP-2 or InstructBLIP after a temporal grounding bridge."""

from __future__ import annotations

from typing import Any, Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.mean_fusion import MeanFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, EVA_VIT_G
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.vision_tower import VisionTowerConfig, tower_config, tower_fields
from vidweave.language.causal import CausalConfig
from vidweave.language.families import BLIP2_FLAN_T5_XL, VICUNA_7B
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.types import FrameNeed, MotionSpec, TextSpec, VisualSpec

__all__ = [
    "BRIDGE_QUESTION",
    "MotionSource",
    "Pooling",
    "bridge_config",
    "motion_encoder",
    "prompt_layout",
    "videotgb",
    "videotgb_flan_t5_xl",
    "videotgb_vicuna_7b",
]

Pooling = Literal["concat", "mean"]
MotionSource = Literal["raft", "motion_vectors", "frame_differences"]

# The text that the bridge was trained on; the original's evaluation and demo used other texts.
BRIDGE_QUESTION = "USER: {question}ASSISTANT: "
QUESTION = "USER: <video>\n{question} ASSISTANT: "
MAPS, FPS, SIDE, PATCH = 64, 2.0, 224, 16


def videotgb(
    *,
    name: str,
    vision: dict[str, Any],
    qformer: QFormerConfig,
    num_query_tokens: int,
    language_model: CausalConfig | Seq2SeqConfig,
    selector: GroundingSelectorConfig,
    motion: MotionEncoderConfig,
    pooling: Pooling = "mean",
    num_frames: int = 4,
    decoding: dict[str, Any] | None = None,
) -> VideoLanguageConfig:
    """Combine a bridge that reads motion, a tower that encodes the selected frames, a Q-Former, and a language model.

    Args:
        vision: transformers' configuration of the tower.
        pooling: Input of the language model from k frames: all their tokens (`concat`), or their mean (`mean`).
            Stored with the model, since weights are trained for one of them.
        num_frames: Number k of selected frames.
    """
    tower = tower_config(tower_fields(vision))
    size = int(tower.image_size)
    common = {"height": size, "width": size, "mean": CLIP_MEAN, "std": CLIP_STD, "antialias": False}
    pixels = {
        "video": VisualSpec(interpolation="bilinear", rounding="truncate", **common),
        "image": VisualSpec(interpolation="bicubic", **common),
    }
    port = PortConfig(
        trunk="qformer",
        input_width=tower.hidden_size,
        input_norm=True,
        norm_eps=tower.layer_norm_eps,
        num_query_tokens=num_query_tokens,
    )
    need = FrameNeed(num_frames=num_frames)
    spec = ModelSpec(
        selector=selector,
        encoders={"vision": VisionTowerConfig(config=vision, specs=pixels), "motion": motion},
        streams={
            "video": StreamConfig(encoder="vision", modalities=("video", "image"), need=need),
            "motion": StreamConfig(encoder="motion", modalities=tuple(motion.specs), need=FrameNeed(), role="selector"),
        },
        connector=ConnectorConfig(
            trunks={"qformer": qformer},
            ports={"video": port},
            fusion=MeanFusionConfig() if pooling == "mean" else NoFusionConfig(),
            output_width=language_model.width,
        ),
        language_model=language_model,
        layout=prompt_layout(language_model.kind == "seq2seq"),
        decoding={"max_new_tokens": 128} if decoding is None else decoding,
    )
    return VideoLanguageConfig(spec, name=name)


def prompt_layout(is_seq2seq: bool, question: str = QUESTION) -> TemplateLayout:
    """Place the frames' tokens, then one turn of the conversation; after bos for a causal model, before eos for T5."""
    words = Text(text=question.replace("{question}", "{question}{options}"))
    return TemplateLayout(
        parts=(Slot(block="video"), words, Special(token="eos"))
        if is_seq2seq
        else (Slot(block="video"), Special(token="bos", if_any=True), words),
        options=OptionsFormat(prefix=" Options: ", item="({letter}) {option}", separator=" "),
        answer=AnswerFormat(max_tokens=512),
        on_overflow="truncate",
    )


def bridge_config(*, released: bool = True, pooled: bool = True, **changes: Any) -> GroundingSelectorConfig:
    """Configure the bridge at paper size.

    Args:
        released: Use stored rotary tables and absolute positions, which the released weights need; otherwise computed
            tables without a length limit.
        pooled: Pool over space in the motion encoder with the bridge's weights, so that vectors can be stored; otherwise
            the bridge reads all patches and is trained to pool them.
    """
    tables = (
        {"rope": "stored", "position": "absolute+rope", "cross_position": "both"}
        if released
        else {"rope": "sinusoid", "position": "rope", "cross_position": "words"}
    )
    settings = {
        **tables,
        "motion_width": 2 * PATCH * PATCH,
        "num_patches": 1 if pooled else (SIDE // PATCH) ** 2,
        "num_candidates": 32,
        "text_spec": TextSpec(tokenizer="selector", max_tokens=128, template=BRIDGE_QUESTION),
        **changes,
    }
    return GroundingSelectorConfig(**settings)


def motion_encoder(source: MotionSource, *, pooled: bool = True) -> MotionEncoderConfig:
    """Configure motion as in training: 2 maps a second, at most 64, each 224 x 224, divided by the clip's maximum.

    An image has one map, of zeros.
    """
    pooling: Literal["none", "weighted"] = "weighted" if pooled else "none"
    kind = "pictures" if source == "raft" else source
    spec = MotionSpec(source=kind, fps=FPS, height=SIDE, width=SIDE, normalize="clip_max", max_maps=MAPS)
    specs = {"video": spec, "image": spec}
    return MotionEncoderConfig(height=SIDE, width=SIDE, patch=PATCH, pooling=pooling, specs=specs)


def _paper(
    name: str,
    qformer: QFormerConfig,
    language_model: CausalConfig | Seq2SeqConfig,
    motion: MotionSource,
    pooling: Pooling,
    released: bool,
    pooled_motion: bool,
    bridge: dict[str, Any],
) -> VideoLanguageConfig:
    return videotgb(
        name=name,
        vision=EVA_VIT_G,
        qformer=qformer,
        num_query_tokens=32,
        language_model=language_model,
        selector=bridge_config(released=released, pooled=pooled_motion, **bridge),
        motion=motion_encoder(motion, pooled=pooled_motion),
        pooling=pooling,
    )


def videotgb_vicuna_7b(
    *,
    motion: MotionSource = "raft",
    pooling: Pooling = "mean",
    released: bool = True,
    pooled_motion: bool = True,
    **bridge: Any,
) -> VideoLanguageConfig:
    """Build InstructBLIP with Vicuna-7B after the bridge: `LSTP-7B.ckpt`. `bridge`: fields of GroundingSelectorConfig."""
    reader = TextSpec(tokenizer="qformer", max_tokens=512, template=QUESTION)
    qformer = QFormerConfig(vocab_size=30523, text_spec=reader)
    language_model = CausalConfig(config=VICUNA_7B)
    return _paper("videotgb-vicuna-7b", qformer, language_model, motion, pooling, released, pooled_motion, bridge)


def videotgb_flan_t5_xl(
    *,
    motion: MotionSource = "raft",
    pooling: Pooling = "mean",
    released: bool = True,
    pooled_motion: bool = True,
    **bridge: Any,
) -> VideoLanguageConfig:
    """Build BLIP-2 with Flan-T5-XL after the bridge: `LSTP-FlanT5xl.ckpt`. `bridge`: fields of GroundingSelectorConfig."""
    language_model = Seq2SeqConfig(config=BLIP2_FLAN_T5_XL)
    arguments = (motion, pooling, released, pooled_motion, bridge)
    return _paper("videotgb-flan-t5-xl", QFormerConfig(), language_model, *arguments)
