"""CREMA as configurations of the four slots, and the prompts of its data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vidweave.connectors.align import AlignRule
from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.gated_fusion import GatedAddConfig, GatedAppendConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, EVA_VIT_G
from vidweave.encoders.point_cloud import PointFeaturesConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.language.families import BLIP2_FLAN_T5_XL
from vidweave.language.layout import (
    AnswerFormat,
    EachSegment,
    OptionsFormat,
    Slot,
    Special,
    TemplateLayout,
    Text,
    When,
)
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, PointSpec, VisualSpec

__all__ = [
    "DATASETS",
    "IMAGE_LIKE",
    "Dataset",
    "Fusion",
    "Sizes",
    "build",
    "crema",
    "crema_music_avqa",
    "crema_nextqa",
    "crema_sqa3d",
    "crema_thermal_qa",
    "crema_touch_qa",
    "prompt_layout",
]

Fusion = Literal["none", "gated_add", "gated_append"]
IMAGE_LIKE = ("video", "depth", "flow", "normals", "thermal", "touch")
MODALITIES = (*IMAGE_LIKE, "audio", "point_cloud")
MAX_TEXT_TOKENS = 77  # question and instruction, including the end token
_WORD = "answer the question using a single word or phase."  # (sic)
_CHOOSE = "Considering the information presented in the frame, select the correct answer from the options."
# Beam search as the original runs it: the length penalty of its configuration files is never passed on, and its minimum
# length of 1 counts the start token.
_BEAMS = {"num_beams": 5, "length_penalty": -1.0}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Prompt and decoding of one data set (spec 5); `published.json` has its training settings.

    Attributes:
        modalities: Modalities of the paper's largest model for it.
        prompt: Prompt of the language model; {question}, and {options} if there are any.
        chooses: Options have letters, and the answer is `Option <letter>`.
        decoding: Decoding of free-form answers.
    """

    modalities: tuple[str, ...]
    prompt: str
    chooses: bool = False
    decoding: Mapping[str, Any] = field(default_factory=dict)


def _choice(*modalities: str) -> Dataset:
    prompt = f"Question: {{question}}{{options}} {_CHOOSE}"
    return Dataset(modalities=modalities, prompt=prompt, chooses=True, decoding={"max_new_tokens": 30})


DATASETS: dict[str, Dataset] = {
    "sqa3d": Dataset(
        modalities=("video", "point_cloud", "depth", "normals"),
        prompt=f"{{question}} Based on the frames and 3D Model information, {_WORD}",
        decoding={**_BEAMS, "max_new_tokens": 40},
    ),
    "music-avqa": Dataset(
        modalities=("video", "audio", "flow", "depth", "normals"),
        prompt=f"Question: {{question}} Based on the frames and audio information, {_WORD}",
        decoding={**_BEAMS, "max_new_tokens": 10},
    ),
    "nextqa": _choice("video", "depth", "flow", "normals"),
    "touch-qa": _choice("video", "touch", "normals"),
    "thermal-qa": _choice("video", "thermal", "depth"),
    "audiocaps": Dataset(
        modalities=("audio",),
        prompt=f"Question: {{question}} Based on the audio information, {_WORD}",
        decoding={**_BEAMS, "max_new_tokens": 10},
    ),
    "3d-llm": Dataset(
        modalities=("point_cloud",),
        prompt="Question: {question} Based on 3D Model information, answer the question.",
        decoding={**_BEAMS, "max_new_tokens": 40},
    ),
    "3d-llm-test": Dataset(
        modalities=("point_cloud",),
        prompt=f"Question: {{question}} Based on 3D Model information, {_WORD}",
        decoding={**_BEAMS, "max_new_tokens": 40},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All sizes; the defaults are the paper's. Tests and conversions of other files use their own."""

    vision: dict[str, Any] = field(default_factory=lambda: dict(EVA_VIT_G))
    audio: BeatsConfig = field(default_factory=BeatsConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    language: dict[str, Any] = field(default_factory=lambda: dict(BLIP2_FLAN_T5_XL))
    num_query_tokens: int = 32
    num_points: int = 5000
    rank: int = 64
    lora_dropout: float = 0.1


def crema(
    dataset: str = "sqa3d",
    *,
    modalities: Sequence[str] | None = None,
    fusion: Fusion = "gated_append",
    num_frames: int = 4,
    original_audio: bool = False,
    original_points: bool = False,
) -> VideoLanguageConfig:
    """Build the paper's model for one of its data sets.

    Args:
        modalities: Override those of the data set, video first; the others may be missing in a clip.
        fusion: `gated_append` is the paper's second version (tokens of the video, and as many again for all others),
            `gated_add` its first (the video's alone); `none` gives every modality its own tokens.
        original_audio: Read only the first 10.24 s, as the original does, instead of windows over the whole clip.
        original_points: Fill up too few points with zeros, which the model attends to, as in the original.
    """
    if dataset not in DATASETS:
        raise UnknownNameError("data set of CREMA", dataset, DATASETS)
    names = tuple(DATASETS[dataset].modalities if modalities is None else modalities)
    return build(
        names,
        dataset=dataset,
        fusion=fusion if len(names) > 1 else "none",
        num_frames=num_frames,
        original_audio=original_audio,
        original_points=original_points,
    )


def build(
    modalities: Sequence[str],
    *,
    dataset: str = "sqa3d",
    fusion: Fusion = "gated_append",
    num_frames: int = 4,
    original_audio: bool = False,
    original_points: bool = False,
    sizes: Sizes | None = None,
    unadapted: Sequence[str] = (),
    point_prefix: str = "3D Model: ",
) -> VideoLanguageConfig:
    """Build a model of any modalities and sizes; see `crema`.

    Args:
        unadapted: Modalities without an adapter (the original's `-skip`: plain BLIP-2 for the video).
        point_prefix: Text before points without video; the original writes "Audio: ".
    """
    sizes = sizes or Sizes()
    names = tuple(modalities)
    _check(names, fusion)
    if sizes.language.get("model_type") not in ("t5", "mt5"):
        raise ConfigError(f"CREMA's language model is a T5, got {sizes.language.get('model_type')!r}")
    language = Seq2SeqConfig(config=sizes.language)
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders=_encoders(names, sizes, original_audio, original_points),
        streams={name: _stream(name, num_frames) for name in names},
        connector=ConnectorConfig(
            trunks={"qformer": sizes.qformer},
            ports={name: _port(name, sizes, name not in unadapted) for name in names},
            fusion=_fusion(names, fusion),
            output_width=language.width,
        ),
        language_model=language,
        layout=prompt_layout(names, fusion, dataset, point_prefix=point_prefix),
        decoding=dict(DATASETS[dataset].decoding),
    )
    return VideoLanguageConfig(spec, name=f"crema-{dataset}")


def _check(names: tuple[str, ...], fusion: Fusion) -> None:
    for name in names:
        if name not in MODALITIES:
            raise UnknownNameError("modality of CREMA", name, MODALITIES)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"CREMA needs modalities, each once, got {names}")
    if fusion != "none" and names[0] != "video":
        raise ConfigError(f"the gated fusions of CREMA start with the video, got {names}; or use fusion='none'")


def _encoders(names: Sequence[str], sizes: Sizes, original_audio: bool, original_points: bool) -> dict[str, Any]:
    encoders: dict[str, Any] = {}
    size = int(sizes.vision["image_size"])
    images = {name: _image_spec(name, size) for name in names if name in IMAGE_LIKE}
    if images:
        more = {"image": images["video"]} if "video" in images else {}
        encoders["vision"] = VisionTowerConfig(config=sizes.vision, specs={**images, **more})
    if "audio" in names:
        encoders["audio"] = _audio_encoder(sizes.audio, original_audio)
    if "point_cloud" in names:
        width = sizes.qformer.encoder_width
        points = PointSpec(
            num_points=sizes.num_points,
            feature_width=width,
            normalize=False,
            fill="zero" if original_points else "repeat",
        )
        encoders["points"] = PointFeaturesConfig(width=width, specs={"point_cloud": points})
    return encoders


def _image_spec(name: str, size: int) -> VisualSpec:
    """Preprocessing with CLIP's mean and deviation for all of them (spec 5.1): maps are treated as images. Raw maps are
    scaled to 0..1 first: depth in meters up to 10, flow within 20 pixels per frame, normals in -1..1."""
    ranges = {"depth": (0.0, 10.0), "flow": (-20.0, 20.0), "normals": (-1.0, 1.0), "thermal": (0.0, 1.0)}
    return VisualSpec(
        height=size,
        width=size,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        value_range=ranges.get(name),
        rounding="truncate",
        resampler="pillow",
    )


def _audio_encoder(config: BeatsConfig, original: bool) -> BeatsConfig:
    if not original:
        return config
    specs = {name: replace(spec, max_windows=2, min_windows=2, coverage="head") for name, spec in config.specs.items()}
    return replace(config, specs=specs)


def _stream(name: str, num_frames: int) -> StreamConfig:
    if name == "audio":
        return StreamConfig(encoder="audio", modalities=("audio",), need=FrameNeed(follow_selection=False))
    if name == "point_cloud":
        return StreamConfig(encoder="points", modalities=("point_cloud",), need=FrameNeed(follow_selection=False))
    fed_by = ("video", "image") if name == "video" else (name,)
    return StreamConfig(encoder="vision", modalities=fed_by, need=FrameNeed(num_frames=num_frames, rule="borders"))


def _port(name: str, sizes: Sizes, has_adapter: bool) -> PortConfig:
    key_width = sizes.qformer.encoder_width
    width = sizes.audio.width if name == "audio" else key_width
    return PortConfig(
        trunk="qformer",
        input_width=width,
        input_proj=key_width if name == "audio" else None,
        input_norm=name != "point_cloud",  # the original creates a norm for points and never uses it
        num_query_tokens=sizes.num_query_tokens,
        adapter=AdapterConfig(rank=sizes.rank, dropout=sizes.lora_dropout) if has_adapter else None,
        absent="error" if name == "video" else "skip",
    )


def _fusion(names: Sequence[str], fusion: Fusion) -> Any:
    if fusion == "none":
        return NoFusionConfig()
    # Audio is averaged over its windows and points are repeated: both are one set of tokens for all frames.
    once: dict[str, AlignRule] = {name: "mean_repeat" for name in names if name in ("audio", "point_cloud")}
    return (GatedAddConfig if fusion == "gated_add" else GatedAppendConfig)(streams=tuple(names), align_stream=once)


def prompt_layout(
    modalities: Sequence[str], fusion: Fusion, dataset: str, *, point_prefix: str = "3D Model: "
) -> TemplateLayout:
    """Build the token order of spec 2.6: frames with their numbers, inputs that are not frames, then the question.

    For `gated_append`, frames come without their fused tokens, and the fused tokens after them; the frames' names are
    repeated before the fused tokens, in a block.
    """
    framed = [name for name in modalities if name in IMAGE_LIKE]
    others = [name for name in modalities if name not in IMAGE_LIKE]
    settings = DATASETS[dataset]
    parts: list[Any] = []
    if framed:
        inner = framed if fusion == "none" else framed[:1]
        parts.append(_frames(framed[0], tuple(Slot(block=name, optional=name != framed[0]) for name in inner)))
    if fusion == "gated_append":
        parts += [_frames("fused", ()), Slot(block="fused", optional=True)]
    if fusion == "none":
        parts += [_frameless(name, bool(framed), point_prefix) for name in others]
    parts += [
        Text(
            text=settings.prompt if settings.chooses else settings.prompt + "{options}", max_tokens=MAX_TEXT_TOKENS - 1
        ),
        Special(token="eos"),
    ]
    return TemplateLayout(
        parts=tuple(parts),
        options=OptionsFormat(prefix=" ", item="Option {letter}: {option}")
        if settings.chooses
        else OptionsFormat(prefix=" Options: ", item="{option}", separator=", "),
        answer=AnswerFormat(
            option="Option {letter}" if settings.chooses else "{option}",
            max_tokens=MAX_TEXT_TOKENS,
            scores_eos=not settings.chooses,
        ),
        on_overflow="truncate",
    )


def _frames(block: str, slots: tuple[Slot, ...]) -> EachSegment:
    return EachSegment(
        block=block,
        parts=(Text(text="Frame {index}: "), *slots),
        single=(Text(text="Frame: "), *slots),
        optional=block == "fused",
    )


def _frameless(name: str, has_frames: bool, point_prefix: str) -> Any:
    slot = Slot(block=name, optional=True)
    if name == "audio":
        return slot if has_frames else When(present=("audio",), parts=(Text(text="Audio: "), slot))
    prefix = "3D Model: " if has_frames else point_prefix
    return When(present=(name,), parts=(Text(text=prefix), slot))


def crema_sqa3d() -> VideoLanguageConfig:
    """Build the model for SQA3D: video, 3D points, depth and normals."""
    return crema("sqa3d")


def crema_music_avqa() -> VideoLanguageConfig:
    """Build the model for MUSIC-AVQA: video, audio, flow, depth and normals."""
    return crema("music-avqa")


def crema_nextqa() -> VideoLanguageConfig:
    """Build the model for NExT-QA: video, depth, flow and normals."""
    return crema("nextqa")


def crema_touch_qa() -> VideoLanguageConfig:
    """Build the model for Touch-QA: video, touch and normals."""
    return crema("touch-qa")


def crema_thermal_qa() -> VideoLanguageConfig:
    """Build the model for Thermal-QA: video, thermal and depth."""
    return crema("thermal-qa")
