"""Point clouds with precomputed features as tokens, plus sinusoids of their voxel (as in 3D-LLM; CREMA 2.4).

There are no trainable parameters: features were lifted to points from views (`vidweave extract pointfeatures`).
"""

# Axes: R rows, P points, C width

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality
from vidweave.errors import ConfigError, ShapeError
from vidweave.types import ComponentConfig, PointSpec

__all__ = ["PointFeatures", "PointFeaturesConfig", "voxel_positions"]


@dataclass(frozen=True, kw_only=True)
class PointFeaturesConfig(ComponentConfig):
    """Width of the features and encoding of their positions.

    Attributes:
        width: C of the features.
        num_voxels: Coordinates are integers 0..num_voxels-1.
        scale: Scale of the sinusoids.
        specs: Modality → preprocessing of raw points to (1, P, 3 + C).
    """

    kind: ClassVar[str] = "point_features"
    width: int = 1408
    num_voxels: int = 256
    scale: float = 0.01
    specs: dict[str, PointSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width < 3 or self.num_voxels < 1:
            raise ConfigError(
                f"point features need a width of 3 or more and voxels, got {self.width}, {self.num_voxels}"
            )
        for modality, spec in self.specs.items():
            if spec.feature_width != self.width:
                raise ConfigError(
                    f"the spec of {modality!r} makes {spec.feature_width} features per point, but the encoder takes {self.width}"
                )

    def build(self) -> PointFeatures:
        return PointFeatures(self)


class PointFeatures(nn.Module):
    """See PointFeaturesConfig; it has no weights."""

    def __init__(self, config: PointFeaturesConfig) -> None:
        super().__init__()
        self.width, self.num_voxels, self.scale = config.width, config.num_voxels, config.scale
        self.specs = dict(config.specs)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, 1, P, 3 + C), coordinates first → (R, 1, P, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: another width, or coordinates that are not voxels.
        """
        check_modality(modality, self.specs, "point")
        if values.ndim != 4 or values.shape[-1] != 3 + self.width:
            raise ShapeError(f"point features must be (R, 1, points, {3 + self.width}), got {tuple(values.shape)}")
        voxels, features = values[..., :3], values[..., 3:]
        has_values = voxels.numel() and not voxels.is_meta  # cost counting uses tensors without values
        if has_values and not 0 <= float(voxels.amin()) <= float(voxels.amax()) < self.num_voxels:
            raise ShapeError(
                f"voxels must be within 0..{self.num_voxels - 1}, got {float(voxels.amin()):g}..{float(voxels.amax()):g}; "
                "use PointSpec(voxels=…) for points in meters"
            )
        table = voxel_positions(self.width // 3, self.num_voxels, values.device).to(values.dtype)
        places = table[voxels.long()].flatten(-2)
        return features + self.scale * nn.functional.pad(places, (0, self.width - places.shape[-1]))


def voxel_positions(width: int, count: int, device: torch.device | None = None) -> Tensor:
    """(count, width) sinusoids of integers: sine and cosine interleaved, frequencies 10000^(-2i/E), where E is
    `width` rounded up to an even number."""
    even = 2 * math.ceil(width / 2)
    frequencies = 10000.0 ** (-torch.arange(0, even, 2, device=device, dtype=torch.float32) / even)
    angles = torch.arange(count, device=device, dtype=torch.float32)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
