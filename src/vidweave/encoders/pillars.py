"""A small point cloud encoder: points fall into pillars, which are the pixels of a patch transformer."""

# Axes: R rows, T time steps, G = R * T clouds, P points, L layers of depth, H height, W width, C width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.types import ComponentConfig, PointSpec

__all__ = ["PillarEncoder", "PillarEncoderConfig"]


@dataclass(frozen=True, kw_only=True)
class PillarEncoderConfig(ComponentConfig):
    """Size of a pillar encoder.

    Attributes:
        extent_metres: Half the side of the square region, seen from the front; points outside are dropped.
        depth_metres: Half the extent in depth.
        pictures: The transformer over the pillars; its `size` is the number of pillars per side, its `channels` the
            number of depth layers per pillar.
        counts: Whether a cell holds log(1 + its number of points) instead of 1 if it has any; surfaces are denser.
        specs: Modality → sampling of raw points.
    """

    kind: ClassVar[str] = "pillars"
    extent_metres: float
    depth_metres: float
    pictures: PatchEncoderConfig
    counts: bool = False
    specs: dict[str, PointSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.extent_metres <= 0 or self.depth_metres <= 0:
            raise ConfigError(f"extents must be positive, got {self.extent_metres} and {self.depth_metres} meters")

    def build(self) -> PillarEncoder:
        return PillarEncoder(self)


class PillarEncoder(nn.Module):
    """Point clouds → one token per patch of pillars, in row-major order."""

    def __init__(self, config: PillarEncoderConfig) -> None:
        super().__init__()
        self.specs = dict(config.specs)
        self.counts = config.counts
        self.extents = (config.extent_metres, config.extent_metres, config.depth_metres)
        self.pictures = config.pictures.build()
        self.width = self.pictures.width
        self.num_tokens = self.pictures.num_tokens

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, P, 3 + F) right, down, towards the camera in meters; features are ignored → (R, T, N, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: values that are not points.
        """
        check_modality(modality, self.specs, "pillar")
        if values.ndim != 4 or values.shape[-1] < 3:
            raise ShapeError(f"the pillar encoder expects points (R, T, P, 3 or more), got {tuple(values.shape)}")
        return encode_steps(lambda points: self.pictures(self.occupancy(points)), values[..., :3], self.pictures.chunk)

    def occupancy(self, points: Tensor) -> Tensor:
        """(G, P, 3) → (G, L, H, W): 1 if a cell has a point, else 0; or, with `counts`, log(1 + number of points)."""
        layers, height, width = self.pictures.frame_shape
        cells = torch.tensor([width, height, layers], device=points.device)
        extents = torch.tensor(self.extents, device=points.device)
        index = ((points.float() / extents + 1) / 2 * cells).floor().long()
        inside = ((index >= 0) & (index < cells)).all(-1)
        column, row, layer = index.clamp(min=0).minimum(cells - 1).unbind(-1)
        flat = (layer * height + row) * width + column
        filled = torch.zeros(len(points), layers * height * width, device=points.device)
        filled.scatter_reduce_(1, flat, inside.float(), "sum" if self.counts else "amax")
        filled = filled.log1p() if self.counts else filled
        dtype: Any = self.pictures.position_embedding.dtype
        return filled.view(-1, layers, height, width).to(dtype)
