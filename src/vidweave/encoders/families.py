"""Supported vision towers of transformers and their differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidweave.errors import ConfigError, UnknownNameError

__all__ = ["FAMILIES", "WHOLE_MODELS", "Family", "family_of"]

# Vision-language models → their vision tower, configured by their `vision_config`.
WHOLE_MODELS = {
    "blip-2": "blip_2_vision_model",
    "clip": "clip_vision_model",
    "instructblip": "instructblip_vision_model",
    "instructblipvideo": "instructblip_vision_model",
    "siglip": "siglip_vision_model",
}
# Towers that seem usable by name and input but are not → reason, and an alternative.
_UNUSABLE = {
    **dict.fromkeys(
        ("siglip2", "siglip2_vision_model"),
        "SigLIP 2 NaFlex takes images as rows of patches of any shape; use a SigLIP 2 of fixed size, for example "
        "google/siglip2-base-patch16-224",
    ),
    **dict.fromkeys(
        ("xclip", "xclip_vision_model"),
        "X-CLIP passes messages between all frames of a clip, across time steps; use CLIP, VideoMAE or ViViT",
    ),
    "videoprism": "this is VideoPrism with its text tower, whose video tower differs from the plain one; use a folder of "
    "videoprism_vision_model, for example google/videoprism-base-f16r288",
}


def _grid(config: Any, height: int, width: int) -> int:
    """Number of patches of one frame."""
    size = config.patch_size
    rows, columns = (size, size) if isinstance(size, int) else size
    return (height // rows) * (width // columns)


def _vivit(config: Any, height: int, width: int) -> int:
    time, rows, columns = config.tubelet_size
    return (config.num_frames // time) * (height // rows) * (width // columns)


def _videomae(config: Any, height: int, width: int) -> int:
    return (config.num_frames // config.tubelet_size) * _grid(config, height, width)


def _timesformer(config: Any, height: int, width: int) -> int:
    return config.num_frames * _grid(config, height, width)


def _vjepa2(config: Any, height: int, width: int) -> int:
    return (config.frames_per_clip // config.tubelet_size) * _grid(config, height, width)


def _hiera(config: Any, height: int, width: int) -> int:
    """Number of patches, which are pooled repeatedly by the queries."""
    rows, columns = (
        p * q**config.num_query_pool for p, q in zip(config.patch_stride, config.query_stride, strict=True)
    )
    return (height // rows) * (width // columns)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Facts about one architecture of transformers.

    Attributes:
        model: Class name in transformers.
        norm: Attribute of the norm after the last layer; None if there is none.
        prefix: Tokens before the patches (CLS, registers), from the config; None: measured on the tower's output.
        patches: Number of patch tokens of one input, from the config, height and width.
        is_video: Whether it takes `config.num_frames` frames together.
        has_plain_layers: Whether its layers are uniform and can be truncated (`layer`).
        takes_any_size: Whether it interpolates its positions to the frame size.
        neighbours: Prefixes of the names of other parts in the checkpoint of a larger model.
        settings: Configuration fields that disable unused heads.
        arguments: Constructor arguments that do the same.
        input_name: Argument that takes the frames.
        call: Further arguments of every call.
        side: Field of the configuration with the frame size.
        num_frames: Field of the configuration with the number of frames of a video tower.
        steps: Number of time steps of a video tower's patch tokens, ordered in time; from the config.
    """

    model: str
    norm: str | None
    prefix: Callable[[Any], int] | None = lambda config: 1
    patches: Callable[[Any, int, int], int] = _grid
    is_video: bool = False
    has_plain_layers: bool = True
    takes_any_size: bool = False
    neighbours: tuple[str, ...] = ("classifier.",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input_name: str = "pixel_values"
    call: Mapping[str, Any] = field(default_factory=dict)
    side: str = "image_size"
    num_frames: str = "num_frames"
    steps: Callable[[Any], int] = lambda config: 1


_NO_POOLER = {"add_pooling_layer": False}

FAMILIES: dict[str, Family] = {
    "blip_2_vision_model": Family(model="Blip2VisionModel", norm="post_layernorm"),
    "instructblip_vision_model": Family(model="InstructBlipVisionModel", norm="post_layernorm"),
    "clip_vision_model": Family(
        model="CLIPVisionModel",
        norm="post_layernorm",
        neighbours=("text_model.", "text_projection.", "visual_projection.", "logit_scale"),
    ),
    "siglip_vision_model": Family(
        model="SiglipVisionModel",
        norm="post_layernorm",
        prefix=lambda config: 0,
        neighbours=("text_model.", "logit_scale", "logit_bias"),
        settings={"vision_use_head": False},
    ),
    "dinov2": Family(model="Dinov2Model", norm="layernorm", takes_any_size=True),
    "dinov2_with_registers": Family(
        model="Dinov2WithRegistersModel",
        norm="layernorm",
        prefix=lambda config: 1 + config.num_register_tokens,
        takes_any_size=True,
    ),
    "vit": Family(model="ViTModel", norm="layernorm", arguments=_NO_POOLER),
    "vivit": Family(
        model="VivitModel", norm="layernorm", patches=_vivit, is_video=True, arguments=_NO_POOLER,
        steps=lambda config: config.num_frames // config.tubelet_size[0],
    ),
    "videomae": Family(
        model="VideoMAEModel", norm=None, prefix=lambda config: 0, patches=_videomae, is_video=True,
        neighbours=("classifier.", "fc_norm.", "decoder.", "encoder_to_decoder.", "mask_token", "position_embeddings"),
        settings={"use_mean_pooling": True}, steps=lambda config: config.num_frames // config.tubelet_size,
    ),
    "timesformer": Family(model="TimesformerModel", norm="layernorm", patches=_timesformer, is_video=True),
    "hiera": Family(
        model="HieraModel", norm=None, prefix=lambda config: 0, patches=_hiera, has_plain_layers=False,
        neighbours=("classifier.", "pooler.", "decoder."), arguments=_NO_POOLER,
    ),
    "vjepa2": Family(
        model="VJEPA2Model", norm=None, prefix=lambda config: 0, patches=_vjepa2, is_video=True, has_plain_layers=False,
        neighbours=("classifier.", "pooler."), input_name="pixel_values_videos", call={"skip_predictor": True},
        side="crop_size", num_frames="frames_per_clip",
        steps=lambda config: config.frames_per_clip // config.tubelet_size,
    ),
    "videoprism_vision_model": Family(
        model="VideoPrismVisionModel", norm=None, prefix=lambda config: 0, patches=_vivit, is_video=True,
        has_plain_layers=False, input_name="pixel_values_videos",
    ),
}  # fmt: skip


def family_of(model_type: str) -> Family:
    """Return the family of a transformers `model_type`.

    A vision model outside the tables is used unchanged: with its own last norm, and with a measured number of tokens
    before its patches.

    Raises:
        UnknownNameError: transformers has no such vision model; lists similar names.
        ConfigError: a model with another input format.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type in _UNUSABLE:
        raise ConfigError(f"{model_type!r} cannot be a vision tower here: {_UNUSABLE[model_type]}")
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(model_type)
    model = getattr(transformers, name, None) if isinstance(name, str) else None
    if model is None or getattr(model, "main_input_name", None) != "pixel_values":
        known = [*FAMILIES, *(k for k in MODEL_MAPPING_NAMES if "vision" in k or "vit" in k)]
        raise UnknownNameError("vision tower", model_type, known, "(add it to vidweave.encoders.families.FAMILIES)")
    return Family(model=str(name), norm=None, prefix=None)
