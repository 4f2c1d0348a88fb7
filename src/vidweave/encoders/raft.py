"""Motion vectors from flow that RAFT estimates between pictures: dear, and what released bridges were trained on."""

# Axes: R rows, T steps, H height, W width, N patches of a map, C = 2 * patch² numbers of a patch, F pictures

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.flow_patches import flow_patches, pool_patches
from vidweave.nn.raft import Raft
from vidweave.types import ComponentConfig, MotionSpec

__all__ = ["RaftEncoder", "RaftEncoderConfig"]


@dataclass(frozen=True, kw_only=True)
class RaftEncoderConfig(ComponentConfig):
    """How pairs of pictures become vectors.

    Attributes:
        height, width: Of the pictures, at least 128 each; the specs must agree.
        patch: Side of a patch in pixels; must divide both sides.
        pooling: `none` publishes every patch; `weighted` their sum with weights (N,) that are stored with the model.
        iterations: Refinements of RAFT.
        chunk: Pairs at a time; memory grows with it alone.
        specs: Modality → pairs of pictures (`source="pictures"`); `normalize="clip_max"` divides the flow of a clip by its
            largest magnitude, as released bridges want it.
    """

    kind: ClassVar[str] = "raft"
    height: int = 224
    width: int = 224
    patch: int = 16
    pooling: Literal["none", "weighted"] = "none"
    iterations: int = 20
    chunk: int = 8
    specs: dict[str, MotionSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.patch < 1 or self.height % self.patch or self.width % self.patch:
            raise ConfigError(f"the patch ({self.patch}) must divide the pictures' size {self.height} x {self.width}")
        if self.chunk < 1 or self.iterations < 1:
            raise ConfigError(f"chunk ({self.chunk}) and iterations ({self.iterations}) start at 1")
        for modality, spec in self.specs.items():
            if spec.source != "pictures" or (spec.height, spec.width) != (self.height, self.width):
                raise ConfigError(
                    f"RAFT takes pictures of {self.height} x {self.width}; the spec of {modality!r} gives "
                    f"{spec.source} of {spec.height} x {spec.width}"
                )

    @property
    def num_patches(self) -> int:
        """N of a map."""
        return (self.height // self.patch) * (self.width // self.patch)

    @property
    def motion_width(self) -> int:
        """C."""
        return 2 * self.patch * self.patch

    def build(self) -> RaftEncoder:
        return RaftEncoder(self)


class RaftEncoder(nn.Module):
    """Pairs of pictures → one vector per patch of their flow, or one per pair."""

    def __init__(self, config: RaftEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.specs = dict(config.specs)
        self.width = config.motion_width
        self.num_tokens = config.num_patches if config.pooling == "none" else 1
        self.raft = Raft()
        self.pooling = None
        if config.pooling == "weighted":
            weight = torch.full((config.num_patches,), 1.0 / config.num_patches)
            self.pooling = nn.Parameter(weight, requires_grad=False)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, 1, 2, 3, H, W), RGB 0..255 → (R, T, N, C), or (R, T, 1, C) when pooled.

        Two equal pictures have no motion, exactly; padding is such a pair.

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: pictures of another size.
        """
        check_modality(modality, self.specs, "RAFT")
        size = (1, 2, 3, self.config.height, self.config.width)
        if values.ndim != 7 or tuple(values.shape[2:]) != size:
            raise ShapeError(f"the RAFT encoder takes (R, T, {', '.join(map(str, size))}), got {tuple(values.shape)}")
        if not values.shape[0] * values.shape[1]:
            return self.raft.fnet.conv1.weight.new_zeros(*values.shape[:2], self.num_tokens, self.width)
        divide = self.specs[modality].normalize == "clip_max"
        return torch.stack([self._clip(row[:, 0], divide) for row in values])

    def _clip(self, pairs: Tensor, divide: bool) -> Tensor:
        """Pairs (T, 2, 3, H, W) of one clip → vectors (T, N or 1, C), divided by the largest magnitude if asked."""
        parts, largest = [], pairs.new_zeros((), dtype=torch.float32)
        for part in pairs.split(8 * self.config.chunk):
            flow = self._flow(part)
            largest = torch.maximum(largest, flow.norm(dim=1).max())
            patches = flow_patches(flow, self.config.patch)
            parts.append(patches if self.pooling is None else pool_patches(patches, self.pooling)[:, None])
        vectors = torch.cat(parts)
        return vectors / (largest + 1e-5) if divide else vectors

    def _flow(self, pairs: Tensor) -> Tensor:
        """(T, 2, 3, H, W) → (T, 2, H, W); each picture of neighbouring pairs is encoded once."""
        pictures, index = _unique(pairs)
        moves = index[:, 0] != index[:, 1]
        found = self.raft(pictures, index[moves], iterations=self.config.iterations, chunk=self.config.chunk)
        flow = found.new_zeros(len(pairs), *found.shape[1:])
        flow[moves.to(flow.device)] = found
        return flow


def _unique(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (T, 2, 3, H, W) → pictures (F, 3, H, W), neighbours that are equal told once, and indices (T, 2) of them."""
    flat = pairs.flatten(0, 1)
    if flat.is_meta:  # only counted: nothing to compare
        return flat, torch.arange(len(flat)).view(-1, 2)
    places, keep = [], []
    for number, picture in enumerate(flat):
        if not keep or not torch.equal(flat[keep[-1]], picture):
            keep.append(number)
        places.append(len(keep) - 1)
    return flat[keep], torch.tensor(places).view(-1, 2)
