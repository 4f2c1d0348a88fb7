"""MERV as configurations of the four slots: its encoders, its models, and single encoders for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mixer import ChannelConcatConfig, MixerConfig
from vidweave.connectors.mlp import HeadKind, MLPConfig, head_widths
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD
from vidweave.encoders.languagebind import LanguageBindConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.chat import CHAT_FORMATS
from vidweave.language.families import LLAMA2_7B
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.systems.merv.choices import NAIVE_OPTIONS
from vidweave.systems.merv.frames import strides
from vidweave.types import FrameNeed, PoolSpec, VisualSpec

__all__ = [
    "ENCODERS",
    "LANGUAGEBIND_PIXELS",
    "EncoderInfo",
    "dinov2_single",
    "languagebind_single",
    "merv",
    "merv_frozen",
    "merv_full",
    "siglip_single",
    "vivit_single",
]

Fusion = Literal["attention", "folded", "query_mlp", "scalar", "equal", "channel", "channel_norm", "sequence"]
LANGUAGEBIND_PIXELS = VisualSpec(
    height=224, width=224, resize="crop", interpolation="bilinear", antialias=False, mean=CLIP_MEAN, std=CLIP_STD
)
_HALF = (0.5, 0.5, 0.5)
_SQUASHED = VisualSpec(height=224, width=224, mean=_HALF, std=_HALF)  # aspect ratio not kept, bicubic
DINOV2_PIXELS = replace(_SQUASHED, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VIVIT_PIXELS = replace(_SQUASHED, interpolation="bilinear")
VOCABULARY = 32_064  # Llama-2's vocabulary with a padding token, rounded up to a multiple of 64


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """One encoder of the paper and its use (spec 2.2).

    Attributes:
        build: Builds its configuration.
        source: Hub id of its weights.
        width: Width of its tokens.
        num_frames: Number of its frames.
        window: Frames encoded together.
        steps: Time steps of a window's tokens.
        released_names: Names in released configurations, including timm's name if it is a timm model.
    """

    build: Callable[[], Any]
    source: str
    width: int
    num_frames: int
    window: int = 1
    steps: int = 1
    released_names: tuple[str, ...] = ()

    @property
    def segments(self) -> int:
        """Number of segments of the output."""
        return self.num_frames // self.window * self.steps


def _both(pixels: VisualSpec) -> dict[str, VisualSpec]:
    return {"video": pixels, "image": pixels}


def _languagebind() -> LanguageBindConfig:
    return LanguageBindConfig(layer=-2, drop_cls=True, specs=_both(LANGUAGEBIND_PIXELS))


def _tower(pixels: VisualSpec, layer: int, *, final_norm: bool = False, **inner: Any) -> VisionTowerConfig:
    return VisionTowerConfig(config=inner, layer=layer, drop_cls=True, final_norm=final_norm, specs=_both(pixels))


def _dinov2() -> VisionTowerConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_register_tokens": 4,
    }
    return _tower(DINOV2_PIXELS, -2, model_type="dinov2_with_registers", image_size=518, patch_size=14, **sizes)


def _vivit() -> VisionTowerConfig:
    return _tower(VIVIT_PIXELS, -1, final_norm=True, model_type="vivit", num_frames=32, tubelet_size=[2, 16, 16])


def _siglip() -> VisionTowerConfig:
    """Use the exact GELU, as in timm, with which the released projectors were trained; transformers' default differs."""
    return _tower(_SQUASHED, -2, model_type="siglip_vision_model", image_size=224, patch_size=16, hidden_act="gelu")


def _clip() -> VisionTowerConfig:
    pixels = replace(_SQUASHED, resize="crop", mean=CLIP_MEAN, std=CLIP_STD)
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    return _tower(pixels, -2, model_type="clip_vision_model", patch_size=14, projection_dim=768, **sizes)


def _hiera() -> VisionTowerConfig:
    pixels = replace(_SQUASHED, resize="crop", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return VisionTowerConfig(config={"model_type": "hiera"}, specs=_both(pixels))


ENCODERS: dict[str, EncoderInfo] = {
    "languagebind": EncoderInfo(
        build=_languagebind,
        source="LanguageBind/LanguageBind_Video_merge",
        width=1024,
        num_frames=16,
        window=8,
        steps=8,
        released_names=("languagebind-video-noclass",),
    ),
    "dinov2": EncoderInfo(
        build=_dinov2,
        source="facebook/dinov2-with-registers-large",
        width=1024,
        num_frames=16,
        released_names=("dinov2-video-all-tokens", "vit_large_patch14_reg4_dinov2.lvd142m"),
    ),
    "vivit": EncoderInfo(
        build=_vivit,
        source="google/vivit-b-16x2-kinetics400",
        width=768,
        num_frames=32,
        window=32,
        steps=16,
        released_names=("vivit-google-b-all-no-cls-16frames",),
    ),
    "siglip": EncoderInfo(
        build=_siglip,
        source="google/siglip-base-patch16-224",
        width=768,
        num_frames=16,
        released_names=("siglip-vit-b16-224px-all-no-cls", "vit_base_patch16_siglip_224"),
    ),
    "clip": EncoderInfo(build=_clip, source="openai/clip-vit-large-patch14", width=1024, num_frames=16),
    "hiera": EncoderInfo(build=_hiera, source="facebook/hiera-tiny-224-hf", width=768, num_frames=16),
}
RELEASED_ORDER = ("languagebind", "dinov2", "vivit", "siglip")


def merv(
    encoders: Sequence[str] = RELEASED_ORDER,
    *,
    fusion: Fusion = "attention",
    head: HeadKind = "linear",
    tokens_per_frame: int = 64,
    num_frames: Mapping[str, int] | None = None,
    language: Mapping[str, Any] | None = None,
    prompt: str = "llama2-base",
    name: str = "",
) -> VideoLanguageConfig:
    """Combine any set of the paper's encoders with a language model.

    Args:
        encoders: Names of `ENCODERS`, in the order of the mixer's weights.
        fusion: Fusion of their tokens; `sequence` concatenates them.
        head: The layers between an encoder's pooled tokens and the language model.
        tokens_per_frame: Token budget of a frame, a square; each encoder's grid is averaged to it before the feature store.
        num_frames: Frames per encoder, instead of the paper's.
        language: transformers' configuration of a causal model; default Llama-2-7B.
        prompt: A name of `language.chat.CHAT_FORMATS`.

    Raises:
        UnknownNameError: an unknown encoder or prompt.
        ConfigError: a budget that is no square, incompatible numbers of frames, or more tokens than the
            language model has positions; each names the numbers.
    """
    infos = {name: _encoder(name, (num_frames or {}).get(name)) for name in encoders}
    if prompt not in CHAT_FORMATS:
        raise UnknownNameError("prompt", prompt, CHAT_FORMATS)
    model = dict(language or {**LLAMA2_7B, "vocab_size": VOCABULARY, "pad_token_id": 32_000})
    language_model = CausalConfig(config=model)
    width = language_model.width
    _check_budget(infos, fusion, tokens_per_frame, language_model)
    every = strides({name: info.num_frames for name, info in infos.items()})
    connector = ConnectorConfig(
        trunks={n: MLPConfig(key_width=e.width, widths=head_widths(head, e.width, width)) for n, e in infos.items()},
        ports={n: PortConfig(trunk=n, input_width=e.width, output_proj=False) for n, e in infos.items()},
        fusion=_fusion(fusion, tuple(infos)),
        output_width=width,
    )
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={n: e.build() for n, e in infos.items()},
        streams={n: _stream(n, e, every[n], math.isqrt(tokens_per_frame)) for n, e in infos.items()},
        connector=connector,
        language_model=language_model,
        layout=CHAT_FORMATS[prompt].layout("video", NAIVE_OPTIONS),
        decoding={"max_new_tokens": 512, "min_new_tokens": 1},
    )
    return VideoLanguageConfig(spec, name=name or "merv-" + "-".join(encoders))


def _encoder(name: str, num_frames: int | None) -> EncoderInfo:
    if name not in ENCODERS:
        raise UnknownNameError("encoder", name, ENCODERS)
    info = ENCODERS[name]
    frames = info.num_frames if num_frames is None else num_frames
    if frames < 1 or frames % info.window:
        raise ConfigError(f"encoder {name!r} takes windows of {info.window} frames, {frames} is not a multiple of it")
    return replace(info, num_frames=frames)


def _stream(name: str, info: EncoderInfo, stride: int, grid: int) -> StreamConfig:
    need = FrameNeed(num_frames=info.num_frames, window=info.window, rule="truncate", stride=stride)
    pool = PoolSpec(grid=grid, steps=info.steps)
    return StreamConfig(encoder=name, modalities=("video", "image"), need=need, pool=pool)


def _fusion(kind: Fusion, streams: tuple[str, ...]) -> Any:
    if kind == "sequence":
        return ConcatFusionConfig(name="video", streams=streams, along="stream")
    if kind in ("channel", "channel_norm"):
        return ChannelConcatConfig(name="video", streams=streams, norm=kind == "channel_norm")
    return MixerConfig(name="video", streams=streams, weighting=kind)  # type: ignore[arg-type]


def _check_budget(
    infos: Mapping[str, EncoderInfo], fusion: Fusion, tokens_per_frame: int, language: CausalConfig
) -> None:
    side = math.isqrt(max(0, tokens_per_frame))
    if side * side != tokens_per_frame or not side:
        near = f"{max(1, side * side)} or {(side + 1) ** 2}"
        raise ConfigError(f"tokens_per_frame must be a square, since it is a grid; got {tokens_per_frame}, use {near}")
    segments = [info.segments for info in infos.values()]
    total = tokens_per_frame * (sum(segments) if fusion == "sequence" else max(segments))
    most = getattr(language.transformers_config(), "max_position_embeddings", None)
    if most is not None and total >= most:
        raise ConfigError(
            f"a clip would take {total} tokens, the language model has {most} positions for clip, question and answer; "
            "give fewer tokens_per_frame or frames, or a fusion that mixes"
        )


def merv_frozen() -> VideoLanguageConfig:
    """Build the released model of one stage."""
    return merv(name="merv-frozen")


def merv_full() -> VideoLanguageConfig:
    """Build the released model of two stages; the same parts."""
    return merv(name="merv-full")


def languagebind_single() -> VideoLanguageConfig:
    """Build a model with LanguageBind alone."""
    return merv(("languagebind",), fusion="equal", name="languagebind-single")


def dinov2_single() -> VideoLanguageConfig:
    """Build a model with DINOv2 alone."""
    return merv(("dinov2",), fusion="equal", name="dinov2-single")


def vivit_single() -> VideoLanguageConfig:
    """Build a model with ViViT alone."""
    return merv(("vivit",), fusion="equal", name="vivit-single")


def siglip_single() -> VideoLanguageConfig:
    """Build a model with SigLIP alone."""
    return merv(("siglip",), fusion="equal", name="siglip-single")
