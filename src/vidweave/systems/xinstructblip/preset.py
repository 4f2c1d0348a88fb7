"""X-InstructBLIP as a configuration of the four slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BEATS_AUDIO, BeatsConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, EVA_VIT_G
from vidweave.encoders.pointbert import PointBertConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.families import VICUNA_7B, VICUNA_13B
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.systems.xinstructblip.prompts import PROMPTS, Prompt, prompt_layout
from vidweave.types import FrameNeed, TextSpec, VisualSpec

__all__ = [
    "MODALITIES",
    "Sizes",
    "build",
    "xinstructblip",
    "xinstructblip_contra4_7b",
    "xinstructblip_discrn_7b",
    "xinstructblip_vicuna_7b",
    "xinstructblip_vicuna_13b",
]

MODALITIES = ("image", "point_cloud", "audio", "video")
"""Modalities in the order of the inputs of one scene in the prompt."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All sizes; the defaults are the paper's. `qformer.encoder_width` follows the encoder of each modality."""

    vision: dict[str, Any] = field(default_factory=lambda: dict(EVA_VIT_G))
    audio: BeatsConfig = field(
        default_factory=lambda: BeatsConfig(specs={"audio": replace(BEATS_AUDIO, min_windows=1)})
    )
    points: PointBertConfig = field(default_factory=PointBertConfig)
    qformer: QFormerConfig = field(
        default_factory=lambda: QFormerConfig(
            vocab_size=30523, text_spec=TextSpec(tokenizer="qformer", max_tokens=128, truncation_side="left")
        )
    )
    language: dict[str, Any] = field(default_factory=lambda: dict(VICUNA_7B))
    num_query_tokens: int = 32


def xinstructblip(
    prompt: str = "released",
    *,
    modalities: Sequence[str] = MODALITIES,
    num_frames: int = 4,
    legacy_media: bool = False,
    sizes: Sizes | None = None,
    name: str | None = None,
) -> VideoLanguageConfig:
    """Build the paper's model with one of the prompts of `PROMPTS`; see `build`."""
    if prompt not in PROMPTS:
        raise UnknownNameError("prompt of X-InstructBLIP", prompt, PROMPTS)
    return build(
        modalities,
        prompt=PROMPTS[prompt],
        name=name or f"xinstructblip-{prompt}",
        num_frames=num_frames,
        legacy_media=legacy_media,
        sizes=sizes,
    )


def build(
    modalities: Sequence[str] = MODALITIES,
    *,
    prompt: Prompt = PROMPTS["released"],
    name: str = "xinstructblip",
    sizes: Sizes | None = None,
    num_frames: int = 4,
    shared_vision: bool = True,
    legacy_media: bool = False,
    legacy_text_rows: bool = False,
) -> VideoLanguageConfig:
    """Build a model of any modalities and sizes.

    Args:
        modalities: In the order of the prompt; any of them may be missing in a clip.
        shared_vision: Use one tower for images and frames. The original has two copies of it.
        legacy_media: Read videos and audio as the original's evaluation does: frames resized twice, their channels
            reversed (X10), and the end of most audio dropped.
        legacy_text_rows: In batches, frames and segments read the instructions of other items (X4).

    Raises:
        ConfigError: no modality, one twice, or a language model that is not causal.
        UnknownNameError: a modality that X-InstructBLIP does not have.
    """
    sizes = sizes or Sizes()
    names = tuple(modalities)
    _check(names)
    language = CausalConfig(config=sizes.language)
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders=_encoders(names, sizes, prompt, shared_vision, legacy_media),
        streams={modality: _stream(modality, num_frames, shared_vision) for modality in names},
        connector=ConnectorConfig(
            trunks={modality: _trunk(modality, sizes, prompt) for modality in names},
            ports={modality: _port(modality, sizes, legacy_text_rows) for modality in names},
            fusion=NoFusionConfig(),
            output_width=language.width,
        ),
        language_model=language,
        layout=prompt_layout(names, prompt),
        decoding=dict(prompt.decoding),
    )
    return VideoLanguageConfig(spec, name=name)


def _check(names: tuple[str, ...]) -> None:
    for modality in names:
        if modality not in MODALITIES:
            raise UnknownNameError("modality of X-InstructBLIP", modality, MODALITIES)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"X-InstructBLIP needs modalities, each once, got {names}")


def _encoders(
    names: Sequence[str], sizes: Sizes, prompt: Prompt, shared_vision: bool, legacy_media: bool
) -> dict[str, Any]:
    size = int(sizes.vision["image_size"])
    pixels = VisualSpec(height=size, width=size, resize=prompt.image_resize, mean=CLIP_MEAN, std=CLIP_STD)
    specs = {
        "image": replace(pixels, rounding="truncate", resampler="pillow"),
        "video": replace(
            pixels,
            resize="squash",
            interpolation="bilinear",
            antialias=False,
            rounding="truncate",
            channels="bgr" if legacy_media else "rgb",
            read_short_side=size if legacy_media else None,
        ),
    }
    encoders: dict[str, Any] = {}
    for modality in names:
        if modality in specs:
            selected = (
                {n: spec for n, spec in specs.items() if n in names} if shared_vision else {modality: specs[modality]}
            )
            encoders[_vision_name(modality, shared_vision)] = VisionTowerConfig(config=sizes.vision, specs=selected)
    if "audio" in names:
        remainder = "repeat_length" if legacy_media else "pad"
        audio_specs = {n: replace(spec, remainder=remainder) for n, spec in sizes.audio.specs.items()}
        encoders["audio"] = replace(sizes.audio, specs=audio_specs)
    if "point_cloud" in names:
        encoders["points"] = sizes.points
    return encoders


def _vision_name(modality: str, shared_vision: bool) -> str:
    return "vision" if shared_vision else f"{modality}_vision"


def _stream(modality: str, num_frames: int, shared_vision: bool) -> StreamConfig:
    if modality in ("audio", "point_cloud"):
        encoder = {"audio": "audio", "point_cloud": "points"}[modality]
        return StreamConfig(encoder=encoder, modalities=(modality,), need=FrameNeed(follow_selection=False))
    need = FrameNeed(num_frames=1 if modality == "image" else num_frames, rule="truncate")
    return StreamConfig(encoder=_vision_name(modality, shared_vision), modalities=(modality,), need=need)


def _width(modality: str, sizes: Sizes) -> int:
    others = {"audio": sizes.audio.width, "point_cloud": sizes.points.width}
    return others[modality] if modality in others else int(sizes.vision["hidden_size"])


def _trunk(modality: str, sizes: Sizes, prompt: Prompt) -> QFormerConfig:
    text = sizes.qformer.text_spec
    if text is None:
        raise ConfigError("X-InstructBLIP's Q-Formers read the instruction; give Sizes.qformer a text_spec")
    return replace(
        sizes.qformer, encoder_width=_width(modality, sizes), text_spec=replace(text, template=prompt.qformer_text)
    )


def _port(modality: str, sizes: Sizes, legacy_text_rows: bool) -> PortConfig:
    return PortConfig(
        trunk=modality,
        input_width=_width(modality, sizes),
        input_norm=True,
        num_query_tokens=sizes.num_query_tokens,
        absent="skip",
        legacy_text_rows=legacy_text_rows,
    )


def xinstructblip_vicuna_7b() -> VideoLanguageConfig:
    """Build X-InstructBLIP with Vicuna-7B v1.1 (arXiv 2311.18799)."""
    return xinstructblip(name="xinstructblip-vicuna-7b")


def xinstructblip_vicuna_13b() -> VideoLanguageConfig:
    """Build X-InstructBLIP with Vicuna-13B v1.1 (arXiv 2311.18799)."""
    return xinstructblip(sizes=Sizes(language=dict(VICUNA_13B)), name="xinstructblip-vicuna-13b")


def xinstructblip_contra4_7b() -> VideoLanguageConfig:
    """Build the 7B model with Contra4's prompt (arXiv 2506.01275)."""
    return xinstructblip("contra4", name="xinstructblip-contra4-7b")


def xinstructblip_discrn_7b() -> VideoLanguageConfig:
    """Build the 7B model with DisCRn's prompt: two inputs, each in its own scene."""
    return xinstructblip("discrn", num_frames=2, name="xinstructblip-discrn-7b")
