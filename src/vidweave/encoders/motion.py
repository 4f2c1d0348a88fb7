"""Motion maps as vectors: patches of displacement, pooled over space if a bridge's weights define it.

This is the input of selectors. The encoder has no trainable parameters; pooled vectors are small and can be cached.
"""

# Axes: R rows, T steps, H height, W width, N patches of a map, C = 2 * patch² numbers of a patch

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.flow_patches import flow_patches, pool_patches
from vidweave.nn.raft import SMALLEST, Raft
from vidweave.types import ComponentConfig, MotionSpec

__all__ = ["MotionEncoder", "MotionEncoderConfig"]


@dataclass(frozen=True, kw_only=True)
class MotionEncoderConfig(ComponentConfig):
    """Settings that turn motion maps into vectors.

    Attributes:
        height, width: Size of the maps; the specs must agree.
        patch: Side of a patch in pixels of the map; must divide both sides.
        pooling: `none` returns every patch; `weighted` their sum with weights (N,) stored with the model, 1/N unless set
            (a trained bridge's own, see `MotionEmbedding`).
        chunk: Maps per forward pass.
        iterations: RAFT iterations, for specs that yield pairs of frames; its weights belong to the model (`raft.*`).
        specs: Modality → source of its motion. All with one `fps` and `normalize`, since a bridge is trained with one
            clock and one unit.
    """

    kind: ClassVar[str] = "motion"
    height: int
    width: int
    patch: int
    pooling: Literal["none", "weighted"] = "none"
    chunk: int = 256
    iterations: int = 20
    specs: dict[str, MotionSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.patch < 1 or self.chunk < 1 or self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"the patch ({self.patch}) must divide the maps' size {self.height} x {self.width}, and chunk "
                f"({self.chunk}) be at least 1"
            )
        for modality, spec in self.specs.items():
            if (spec.height, spec.width) != (self.height, self.width):
                raise ConfigError(
                    f"the spec of {modality!r} makes maps of {spec.height} x {spec.width}, but the encoder takes "
                    f"{self.height} x {self.width}"
                )
            if spec.source == "pictures" and min(self.height, self.width) < SMALLEST:
                raise ConfigError(
                    f"RAFT needs frames of at least {SMALLEST} pixels per side, got {self.height} x {self.width}"
                )
        if len({(spec.fps, spec.normalize) for spec in self.specs.values()}) > 1:
            raise ConfigError("the motion specs of one encoder must have one fps and one normalize")

    @property
    def num_patches(self) -> int:
        """N of a map."""
        return (self.height // self.patch) * (self.width // self.patch)

    @property
    def motion_width(self) -> int:
        """C."""
        return 2 * self.patch * self.patch

    def build(self) -> MotionEncoder:
        return MotionEncoder(self)


class MotionEncoder(nn.Module):
    """Motion maps → one vector per patch, or one per map; always computed in float32, since displacements and RAFT's
    correlations need its precision.
    """

    float32_instead_of = (torch.float16, torch.bfloat16)

    def __init__(self, config: MotionEncoderConfig) -> None:
        super().__init__()
        self.specs = dict(config.specs)
        self.width = config.motion_width
        self.num_tokens = config.num_patches if config.pooling == "none" else 1
        self.size = (config.height, config.width)
        self.patch = config.patch
        self.chunk = config.chunk
        self.iterations = config.iterations
        self.raft = Raft() if any(spec.source == "pictures" for spec in config.specs.values()) else None
        self.pooling = None
        if config.pooling == "weighted":
            weight = torch.full((config.num_patches,), 1.0 / config.num_patches)
            self.pooling = nn.Parameter(weight, requires_grad=False)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, 1, 2, H, W), or pairs of frames (R, T, 1, 2, 3, H, W), → (R, T, N, C), or (R, T, 1, C) when pooled.

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: maps or frames of another size.
        """
        check_modality(modality, self.specs, "motion")
        spec = self.specs[modality]
        payload = (1, 2, *((3,) if spec.source == "pictures" else ()), *self.size)
        if tuple(values.shape[2:]) != payload:
            raise ShapeError(
                f"the motion encoder expects (R, T, {', '.join(map(str, payload))}), got {tuple(values.shape)}"
            )
        maps = values[:, :, 0]
        if spec.source == "pictures":
            maps = self.flow(maps)
            if spec.normalize == "clip_max":
                maps = maps / (maps.norm(dim=2).flatten(1).amax(1) + 1e-5)[:, None, None, None, None]
        return encode_steps(self.forward, maps.float(), self.chunk)

    def flow(self, pairs: Tensor) -> Tensor:
        """Pairs of frames (R, T, 2, 3, H, W), 0..255 → RAFT's flow (R, T, 2, H, W); equal frames give zero flow.

        A frame that ends one pair and begins the next is encoded once.
        """
        assert self.raft is not None
        if not pairs.shape[0] or not pairs.shape[1]:
            return pairs.new_zeros(*pairs.shape[:3], *pairs.shape[4:], dtype=torch.float32)
        rows = []
        for row in pairs:
            is_chain = not row.is_meta and bool((row[1:, 0] == row[:-1, 1]).all())  # meta: for cost counting only
            frames = torch.cat([row[:1, 0], row[:, 1]]) if is_chain else row.flatten(0, 1)
            index = None if is_chain else torch.arange(len(frames)).reshape(-1, 2)
            flow = self.raft(frames, index, iterations=self.iterations)
            is_still = (row[:, 0] == row[:, 1]).flatten(1).all(1)
            rows.append(flow.masked_fill(is_still[:, None, None, None], 0.0))
        return torch.stack(rows)

    def forward(self, maps: Tensor) -> Tensor:
        """(G, 2, H, W) → (G, N, C) or (G, 1, C)."""
        patches = flow_patches(maps, self.patch)
        return patches if self.pooling is None else pool_patches(patches, self.pooling)[:, None]
