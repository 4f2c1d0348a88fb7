"""Vision towers by timm's names, where timm is installed; the released names of papers need it not, see the presets."""

# Axes: R rows, T groups in time, G = R * T pictures, N tokens, C width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_groups
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.numbers import floating_dtype
from vidweave.types import ComponentConfig, VisualSpec

__all__ = ["TimmTower", "TimmTowerConfig"]

# Arguments with which timm reads weights of its own choice: from a hub, or pickled.
_FETCHING = {"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}


@dataclass(frozen=True, kw_only=True)
class TimmTowerConfig(ComponentConfig):
    """A vision transformer of timm, with fresh weights.

    Attributes:
        name: timm's model name, without a tag of weights.
        layer: Which hidden state is published, before any norm: -1 behind the last block, -2 before it.
        drop_cls: Leave out the tokens before the patches (class token and registers).
        chunk: Pictures encoded at a time; None is all.
        specs: Modality → how raw media become its pictures, all of one size.
        options: Further arguments of `timm.create_model`.
    """

    kind: ClassVar[str] = "timm"
    name: str
    layer: int = -1
    drop_cls: bool = True
    chunk: int | None = None
    specs: dict[str, VisualSpec] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layer > -1:
            raise ConfigError(f"layer counts from the end (-1 is the last), got {self.layer}")
        if found := sorted(_FETCHING & self.options.keys()):
            raise ConfigError(
                f"weights of a timm tower are read from safetensors like all others; leave out {', '.join(map(repr, found))}"
            )

    def build(self) -> TimmTower:
        return TimmTower(self)


class TimmTower(nn.Module):
    """See TimmTowerConfig. Parameters are those of timm's model, under `tower.`."""

    def __init__(self, config: TimmTowerConfig) -> None:
        super().__init__()
        timm = _timm()
        if config.name not in timm.list_models():
            raise ConfigError(f"timm has no model {config.name!r}; see timm.list_models()")
        self.specs, self.chunk = dict(config.specs), config.chunk
        self.size = _one_size(config)
        self.tower: Any = timm.create_model(
            config.name, pretrained=False, num_classes=0, img_size=self.size, **config.options
        )
        depth = len(self.tower.blocks)
        if depth + config.layer < 0:
            raise ConfigError(f"layer {config.layer} is outside the {depth} blocks of {config.name!r}")
        self.block = depth + config.layer
        self.drop_cls = config.drop_cls
        self.width: int = self.tower.embed_dim
        prefix = 0 if config.drop_cls else self.tower.num_prefix_tokens
        self.num_tokens: int = self.tower.patch_embed.num_patches + prefix

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, 1, 3, H, W) → (R, T, N, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: pictures of another size, or more than one per group.
        """
        check_modality(modality, self.specs, "timm")
        expected = (1, 3, *self.size)
        if values.ndim != 6 or tuple(values.shape[2:]) != expected:
            raise ShapeError(
                f"this timm tower takes (R, T, {', '.join(map(str, expected))}), got {tuple(values.shape)}"
            )
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], self.num_tokens, self.width)
        return encode_groups(self, values[:, :, 0].to(floating_dtype(self.tower, torch.float32)), self.chunk)

    def forward(self, pictures: Tensor) -> Tensor:
        """(G, 3, H, W) → (G, N, C)."""
        (found,) = self.tower.forward_intermediates(
            pictures,
            indices=[self.block],
            norm=False,
            return_prefix_tokens=not self.drop_cls,
            intermediates_only=True,
            output_fmt="NLC",
        )
        return found if self.drop_cls else torch.cat([found[1], found[0]], 1)


def _timm() -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "an encoder of kind 'timm' needs timm, which is not installed with vidweave since it brings torchvision along; "
            "pip install timm, or take the same tower from transformers (kind 'vision_tower')"
        ) from None
    return timm


def _one_size(config: TimmTowerConfig) -> tuple[int, int]:
    sizes = {(spec.height, spec.width) for spec in config.specs.values()}
    if len(sizes) != 1:
        raise ConfigError(f"the specs of a timm tower must make pictures of one size, got {sorted(sizes)}")
    (size,) = sizes
    return size
