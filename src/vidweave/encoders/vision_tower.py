"""Use any vision tower of transformers as an encoder: built from its configuration, never from remote code."""

# Axes: R rows, T time steps, W window (frames per time step), G = R * T, N tokens, C width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.encoders.families import WHOLE_MODELS, Family, family_of
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.config_guard import checked_config, class_config
from vidweave.nn.config_keys import refuse_dangerous
from vidweave.nn.numbers import floating_dtype
from vidweave.types import ComponentConfig, VisualSpec

__all__ = ["VisionTower", "VisionTowerConfig", "tower_config", "tower_fields"]

WHERE = "the configuration of a vision tower"


@dataclass(frozen=True, kw_only=True)
class VisionTowerConfig(ComponentConfig):
    """Configuration of a vision tower and of its output.

    Attributes:
        config: Configuration of the transformers model, with `model_type`: one of `families.FAMILIES`, or any other vision
            model, which is then used as it is. Of a vision-language model (CLIP, SigLIP, BLIP-2), the vision tower is
            used. Only keys that the model's class reads are kept; unknown or dangerous keys are errors.
        layer: Index of the returned hidden state, as in transformers: -1 the last, 0 the embeddings. Later layers are not
            built.
        drop_cls: Drop the tokens before the patches (CLS and registers).
        final_norm: Apply the tower's own last norm. False returns tokens before it: the norm is then up to the port.
        chunk: Time steps per forward pass; None is all.
        specs: Modality → preprocessing to frames.
    """

    kind: ClassVar[str] = "vision_tower"
    config: dict[str, Any]
    layer: int = -1
    drop_cls: bool = False
    final_norm: bool = False
    chunk: int | None = None
    specs: dict[str, VisualSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", tower_fields(self.config))
        if self.final_norm and self.layer != -1:
            raise ConfigError(f"final_norm belongs to the last layer, but layer is {self.layer}; set final_norm=False")

    def build(self) -> VisionTower:
        return VisionTower(self)


class VisionTower(nn.Module):
    """See VisionTowerConfig. Parameters are those of the transformers model, under `tower.`."""

    def __init__(self, config: VisionTowerConfig) -> None:
        super().__init__()
        family = family_of(config.config["model_type"])
        self._family, self._config = family, config.config
        self.neighbours = family.neighbours
        inner = _transformers_config(family, config)
        self.specs = dict(config.specs)
        self.chunk = config.chunk
        self.width: int = inner.hidden_size
        self.window: int = getattr(inner, family.num_frames) if family.is_video else 1
        self.is_video = family.is_video
        self.num_steps: int = family.steps(inner)
        self.size = _size(family, inner, self.specs)
        patches = family.patches(inner, *self.size)
        prefix = _measured_prefix(family, inner, self.size) if family.prefix is None else family.prefix(inner)
        self.num_prefix = prefix
        self.num_dropped = prefix if config.drop_cls else 0
        self.has_final_norm = config.final_norm
        self.num_tokens = prefix + patches - self.num_dropped
        self.tower = _build(family, inner, keep_norm=config.final_norm)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, W, 3, H, W) → (R, T, N, C), in the tower's dtype.

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: frames of another size, or another number of frames per time step.
        """
        check_modality(modality, self.specs, "vision tower")
        expected = (self.window, 3, *self.size)
        if values.ndim != 6 or tuple(values.shape[2:]) != expected:
            raise ShapeError(
                f"this vision tower expects (R, T, {', '.join(map(str, expected))}), got {tuple(values.shape)}; "
                f"its window is {self.window} and its specs determine the size"
            )
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], self.num_tokens, self.width, dtype=self._dtype())
        return encode_steps(self, values.to(self._dtype()), self.chunk)

    def forward(self, frames: Tensor) -> Tensor:
        """(G, W, 3, H, W) → (G, N, C)."""
        given = {self._family.input_name: frames if self.is_video else frames[:, 0]}
        return self.tower(**given, **self._family.call).last_hidden_state[:, self.num_dropped :]

    def whole_model(self) -> Any:
        """Build the full transformers model that its checkpoint folders contain, on the meta device, including unused parts.

        Keys of such a folder that start with one of `neighbours` belong to other parts of a larger model.
        """
        import transformers

        with torch.device("meta"):
            return getattr(transformers, self._family.model)(tower_config(self._config))

    @property
    def family(self) -> Family:
        """How its architecture differs from others."""
        return self._family

    def _dtype(self) -> torch.dtype:
        return floating_dtype(self.tower, torch.float32)


def tower_fields(data: Mapping[str, Any], *, unknown: Literal["refuse", "drop"] = "refuse") -> dict[str, Any]:
    """Keep the keys of a tower's configuration that its class reads; for a whole model, those of its tower.

    Args:
        unknown: As in `checked_config`; `drop` is for files.

    Raises:
        CheckpointError, ConfigError, UnknownNameError: not the `model_type` of a tower, or keys refused by
            `checked_config`.
    """
    refuse_dangerous(data, WHERE)
    model_type = data.get("model_type")
    if not isinstance(model_type, str):
        raise ConfigError(f"the tower's config needs 'model_type', got the keys {sorted(map(str, data))}")
    if model_type in WHOLE_MODELS:
        inner = data.get("vision_config")
        if inner is not None and not isinstance(inner, Mapping):
            raise ConfigError(f"vision_config of a {model_type!r} model must be a mapping, got {inner!r}")
        data = {**(inner or {}), "model_type": WHOLE_MODELS[model_type]}
    return checked_config(data, _config_class(data["model_type"]), WHERE, unknown=unknown)


def tower_config(data: Mapping[str, Any]) -> Any:
    """Build transformers' configuration, with its defaults, from checked fields of a tower."""
    return class_config(data, _config_class(data["model_type"]), WHERE)


def _config_class(model_type: str) -> Any:
    from transformers import CONFIG_MAPPING

    family_of(model_type)
    return CONFIG_MAPPING[model_type]


def _transformers_config(family: Family, config: VisionTowerConfig) -> Any:
    """Return the model's configuration without unused parts; raise ConfigError unless it has patches."""
    inner = tower_config({**config.config, **family.settings})
    missing = [name for name in ("hidden_size", family.side, *_patch_field(family)) if not hasattr(inner, name)]
    if missing:
        raise ConfigError(
            f"{family.model} is no tower of patches (its configuration has no {', '.join(missing)}); take a vision "
            "transformer, e.g. SigLIP, CLIP or DINOv2"
        )
    if not family.has_plain_layers or not hasattr(inner, "num_hidden_layers"):
        if config.layer != -1:
            raise ConfigError(f"{family.model} has stages that cannot be truncated; use layer=-1, got {config.layer}")
        return inner
    layers = inner.num_hidden_layers
    kept = config.layer if config.layer >= 0 else layers + 1 + config.layer
    if not 0 <= kept <= layers:
        raise ConfigError(f"layer {config.layer} is outside the hidden states 0..{layers} of this tower")
    inner.num_hidden_layers = kept
    return inner


def _patch_field(family: Family) -> tuple[str, ...]:
    """Return a configuration field that a family outside the table must have, so that its patches can be counted."""
    return ("patch_size",) if family.prefix is None else ()


def _size(family: Family, inner: Any, specs: Mapping[str, VisualSpec]) -> tuple[int, int]:
    """Return height and width of the frames; raise ConfigError if specs disagree with the tower or one another."""
    side = getattr(inner, family.side)
    own = (side, side) if isinstance(side, int) else tuple(side)
    sizes = {(spec.height, spec.width) for spec in specs.values()} or {own}
    if len(sizes) > 1:
        raise ConfigError(f"the specs of one tower must make frames of one size, got {sorted(sizes)}")
    (size,) = sizes
    if size != own and not family.takes_any_size:
        raise ConfigError(f"the specs make frames of {size}, but this tower ({family.model}) takes {own}")
    return size


def _measured_prefix(family: Family, inner: Any, size: tuple[int, int]) -> int:
    """Count the tokens before the patches in the tower's output, for a family that is not in the table."""
    with torch.device("meta"):
        tokens = _build(family, inner, keep_norm=True)(pixel_values=torch.zeros(1, 3, *size)).last_hidden_state
    shape, patches = tuple(tokens.shape), family.patches(inner, *size)
    if len(shape) != 3 or not 0 <= shape[1] - patches <= 16:
        raise ConfigError(
            f"{family.model} cannot be used as a tower of patches: it gives {shape} for a frame of {patches}; "
            "add it to vidweave.encoders.families.FAMILIES"
        )
    return shape[1] - patches


def _build(family: Family, inner: Any, *, keep_norm: bool) -> nn.Module:
    import transformers

    tower = getattr(transformers, family.model)(inner, **family.arguments)
    if family.norm is not None and not keep_norm:
        setattr(tower, family.norm, nn.Identity())
    return tower
