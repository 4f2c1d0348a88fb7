"""OneLLM (arXiv 2312.03700), and what its released evaluation does otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.expert_mixture import ExpertMixtureConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD
from vidweave.encoders.universal import UniversalEncoderConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.families import LLAMA2_7B
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.systems.onellm.prompts import PROMPTS, Prompt, prompt_layout
from vidweave.types import AudioSpec, FrameNeed, PointSpec, SeriesSpec, VisualSpec

__all__ = ["MODALITIES", "SPECS", "Sizes", "build", "onellm", "onellm_7b", "onellm_contra4_7b"]

MODALITIES = ("image", "video", "audio", "point_cloud", "rgbd", "rgbn", "imu", "fmri")
_PIXELS = VisualSpec(
    height=224, width=224, resize="crop", mean=CLIP_MEAN, std=CLIP_STD, rounding="truncate", resampler="pillow"
)

SPECS: dict[str, Any] = {
    "image": _PIXELS,
    "video": replace(_PIXELS, interpolation="bilinear", antialias=False, rounding="none", resampler="torch", crops=3),
    "audio": AudioSpec(
        sample_rate=16_000,
        window_seconds=10.24,
        max_windows=1,
        coverage="head",
        mel_bins=128,
        windows_of="frames",
        mel_window="hann",
        zero_mean=True,
        pads_as_sound=True,
        mel_mean=-4.2677393,
        mel_std=9.1379948,
    ),
    "point_cloud": PointSpec(num_points=8192, feature_width=3, without_features="coordinates"),
    "rgbd": _PIXELS,
    "rgbn": _PIXELS,
    "imu": SeriesSpec(channels=6, length=400, rate=200.0),
    "fmri": SeriesSpec(channels=15_724, average=True),
}
"""How raw media become what the encoder takes. `rgbd` and `rgbn` are pairs: a picture, and its map of depth or normals."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All sizes; the defaults are the paper's.

    Attributes:
        encoder: Without specs.
        specs: By modality.
        experts: Its width is that of the encoder.
        language: In transformers' words.
        num_query_tokens: Of each modality.
    """

    encoder: UniversalEncoderConfig = field(default_factory=UniversalEncoderConfig)
    specs: Mapping[str, Any] = field(default_factory=lambda: dict(SPECS))
    experts: ExpertMixtureConfig = field(default_factory=ExpertMixtureConfig)
    language: Mapping[str, Any] = field(default_factory=lambda: dict(LLAMA2_7B))
    num_query_tokens: int = 30


def onellm(
    prompt: str = "chat",
    *,
    modalities: Sequence[str] = MODALITIES,
    legacy_decoding: bool = False,
    legacy_media: bool = False,
    sizes: Sizes | None = None,
    name: str | None = None,
) -> VideoLanguageConfig:
    """The paper's model, asked in one of the ways of `PROMPTS`; see `build`."""
    if prompt not in PROMPTS:
        raise UnknownNameError("prompt of OneLLM", prompt, PROMPTS)
    return build(
        modalities,
        prompt=PROMPTS[prompt],
        name=name or f"onellm-{prompt}",
        sizes=sizes,
        legacy_decoding=legacy_decoding,
        legacy_media=legacy_media,
    )


def build(
    modalities: Sequence[str] = MODALITIES,
    *,
    prompt: Prompt = PROMPTS["chat"],
    name: str = "onellm",
    sizes: Sizes | None = None,
    legacy_decoding: bool = False,
    legacy_media: bool = False,
) -> VideoLanguageConfig:
    """Any modalities, any sizes.

    Args:
        modalities: In the order of the prompt; any of them may be missing in a clip.
        legacy_decoding: Decode as the released code, whose cache counts 30 positions for all inputs together, however many
            they take (O2, O3, O6). Every published number was made so.
        legacy_media: Read points twice, as Contra4's script does.

    Raises:
        ConfigError: no modality, one twice, or sizes that do not fit each other.
        UnknownNameError: a modality that OneLLM does not have.
    """
    sizes = sizes or Sizes()
    names = tuple(modalities)
    _check(names, sizes)
    specs = {modality: _spec(sizes.specs[modality], legacy_media) for modality in names}
    legacy = {"legacy_inserted": sizes.num_query_tokens} if legacy_decoding else {}
    language = CausalConfig(config=dict(sizes.language))
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"universal": replace(sizes.encoder, specs=specs)},
        streams={modality: _stream(modality) for modality in names},
        connector=ConnectorConfig(
            trunks={"universal": sizes.experts},
            ports={modality: _port(sizes) for modality in names},
            fusion=NoFusionConfig(),
            output_width=language.width,
        ),
        language_model=language,
        layout=prompt_layout(names, prompt),
        decoding={**prompt.decoding, **legacy},
    )
    return VideoLanguageConfig(spec, name=name)


def _check(names: tuple[str, ...], sizes: Sizes) -> None:
    for modality in names:
        if modality not in MODALITIES:
            raise UnknownNameError("modality of OneLLM", modality, MODALITIES)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"OneLLM needs modalities, each once, got {names}")
    if sizes.encoder.width != sizes.experts.width:
        raise ConfigError(
            f"OneLLM's experts are as wide as its encoder, got {sizes.experts.width} and {sizes.encoder.width}"
        )


def _spec(spec: Any, legacy_media: bool) -> Any:
    """With `legacy_media` a cloud of `num_points` stands there twice."""
    return replace(spec, num_points=2 * spec.num_points) if legacy_media and isinstance(spec, PointSpec) else spec


def _stream(modality: str) -> StreamConfig:
    needs = {
        "image": FrameNeed(num_frames=1),
        "video": FrameNeed(num_frames=5, window=5, rule="clip_starts"),
        "rgbd": FrameNeed(num_frames=2, window=2, rule="linspace"),
        "rgbn": FrameNeed(num_frames=2, window=2, rule="linspace"),
    }
    need = needs.get(modality, FrameNeed(follow_selection=False))
    return StreamConfig(encoder="universal", modalities=(modality,), need=need)


def _port(sizes: Sizes) -> PortConfig:
    width = sizes.encoder.width
    return PortConfig(
        trunk="universal",
        input_width=width,
        input_proj=width,
        input_norm=True,
        num_query_tokens=sizes.num_query_tokens,
        router_width=4 * width,
        output_norm=True,
        tags=True,
        absent="skip",
    )


def onellm_7b() -> VideoLanguageConfig:
    """OneLLM with LLaMA-2-7B (arXiv 2312.03700)."""
    return onellm(name="onellm-7b")


def onellm_contra4_7b() -> VideoLanguageConfig:
    """The same, as Contra4 asks it (arXiv 2506.01275)."""
    return onellm("contra4", name="onellm-contra4-7b")
