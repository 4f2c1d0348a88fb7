"""Vision towers of transformers that may be wrapped, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidweave.errors import UnknownNameError

__all__ = ["FAMILIES", "Family", "family_of"]


def _grid(config: Any, height: int, width: int) -> int:
    """Patches of one picture."""
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


def _hiera(config: Any, height: int, width: int) -> int:
    """Patches, which queries pool over and over."""
    rows, columns = (
        p * q**config.num_query_pool for p, q in zip(config.patch_stride, config.query_stride, strict=True)
    )
    return (height // rows) * (width // columns)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture of transformers.

    Attributes:
        model: Class name in transformers.
        norm: Attribute of the norm behind the last layer; None when there is none.
        prefix: Tokens before the patches (CLS, registers), from the config; None: counted on what the tower gives.
        patches: Number of patch tokens of one input, from the config, height and width.
        is_video: It takes `config.num_frames` pictures together.
        has_plain_layers: Its layers are alike and can be cut off (`layer`).
        takes_any_size: It resamples its positions to the picture's size.
        neighbours: Beginnings of the names of what stands beside the tower in the checkpoint of a larger model.
        settings: Configuration fields that leave out heads we do not use.
        arguments: Constructor arguments that do the same.
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
    "vivit": Family(model="VivitModel", norm="layernorm", patches=_vivit, is_video=True, arguments=_NO_POOLER),
    "videomae": Family(
        model="VideoMAEModel", norm=None, prefix=lambda config: 0, patches=_videomae, is_video=True,
        neighbours=("classifier.", "fc_norm.", "decoder.", "encoder_to_decoder.", "mask_token", "position_embeddings"),
        settings={"use_mean_pooling": True},
    ),
    "timesformer": Family(model="TimesformerModel", norm="layernorm", patches=_timesformer, is_video=True),
    "hiera": Family(
        model="HieraModel", norm=None, prefix=lambda config: 0, patches=_hiera, has_plain_layers=False,
        neighbours=("classifier.", "pooler.", "decoder."), arguments=_NO_POOLER,
    ),
}  # fmt: skip


def family_of(model_type: str) -> Family:
    """The family of a transformers `model_type`.

    One that stands in no table is taken as it is, if it is a model of pictures: with its own last norm, and with as many
    tokens before its patches as it turns out to give.

    Raises:
        UnknownNameError: transformers has no such model of pictures; lists near matches.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(model_type)
    model = getattr(transformers, name, None) if isinstance(name, str) else None
    if model is None or getattr(model, "main_input_name", None) != "pixel_values":
        known = [*FAMILIES, *(k for k in MODEL_MAPPING_NAMES if "vision" in k or "vit" in k)]
        raise UnknownNameError("vision tower", model_type, known, "(add it to vidweave.encoders.families.FAMILIES)")
    return Family(model=str(name), norm=None, prefix=None)
