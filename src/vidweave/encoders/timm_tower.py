"""Vision towers by timm name, if timm is installed; presets of the papers' towers do not need it."""

# Axes: R rows, T time steps, G = R * T frames, N tokens, C width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.numbers import floating_dtype
from vidweave.types import ComponentConfig, VisualSpec

__all__ = ["TimmTower", "TimmTowerConfig"]

# Arguments that make timm load weights itself: from a hub, or pickled.
_FETCHING = {"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}


@dataclass(frozen=True, kw_only=True)
class TimmTowerConfig(ComponentConfig):
    """Vision transformer of timm, with randomly initialized weights.

    Attributes:
        name: timm's model name, without a weights tag.
        layer: Index of the returned hidden state, before any norm: -1 after the last block, -2 before it.
        drop_cls: Drop the tokens before the patches (class token and registers).
        chunk: Frames per forward pass; None is all.
        specs: Modality → preprocessing to frames, all of one size.
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
        if forbidden := sorted(_FETCHING & self.options.keys()):
            raise ConfigError(
                f"weights of a timm tower are loaded from safetensors; remove {', '.join(map(repr, forbidden))} from its options"
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
            ShapeError: frames of another size, or more than one per time step.
        """
        check_modality(modality, self.specs, "timm")
        expected = (1, 3, *self.size)
        if values.ndim != 6 or tuple(values.shape[2:]) != expected:
            raise ShapeError(
                f"this timm tower expects (R, T, {', '.join(map(str, expected))}), got {tuple(values.shape)}"
            )
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], self.num_tokens, self.width)
        return encode_steps(self, values[:, :, 0].to(floating_dtype(self.tower, torch.float32)), self.chunk)

    def forward(self, frames: Tensor) -> Tensor:
        """(G, 3, H, W) → (G, N, C)."""
        (output,) = self.tower.forward_intermediates(
            frames,
            indices=[self.block],
            norm=False,
            return_prefix_tokens=not self.drop_cls,
            intermediates_only=True,
            output_fmt="NLC",
        )
        return output if self.drop_cls else torch.cat([output[1], output[0]], 1)


def _timm() -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "an encoder of kind 'timm' needs timm, which is not installed with vidweave because it requires torchvision; "
            "run pip install timm, or use the same tower from transformers (kind 'vision_tower')"
        ) from None
    return timm


def _one_size(config: TimmTowerConfig) -> tuple[int, int]:
    sizes = {(spec.height, spec.width) for spec in config.specs.values()}
    if len(sizes) != 1:
        raise ConfigError(f"the specs of a timm tower must make frames of one size, got {sorted(sizes)}")
    (size,) = sizes
    return size
