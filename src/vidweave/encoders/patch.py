"""A small patch transformer for frames and log-mel windows: the encoder of the shipped tiny models."""

# Axes: R rows, T time steps, G = R * T frames, N patches, C width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import MultiHeadAttention, reset_normal
from vidweave.types import AudioSpec, ComponentConfig, VisualSpec

__all__ = ["PatchEncoder", "PatchEncoderConfig"]


@dataclass(frozen=True, kw_only=True)
class PatchEncoderConfig(ComponentConfig):
    """Size of a patch transformer.

    Attributes:
        size: Height and width of a frame; an int is a square. Audio: frames and mel bins of a window.
        patch: Side of a patch; must divide `size`.
        width: C.
        layers, heads, mlp_ratio: Sizes of the transformer; `heads` divides `width`.
        channels: 3 for frames, 1 for log-mel windows.
        chunk: Frames per forward pass; None is all.
        specs: Modality → preprocessing to frames of `size`.
    """

    kind: ClassVar[str] = "patch"
    size: int | tuple[int, int] = 48
    patch: int = 8
    width: int = 128
    layers: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    channels: int = 3
    chunk: int | None = None
    specs: dict[str, VisualSpec | AudioSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(side % self.patch or side < 1 for side in self.shape):
            raise ConfigError(f"the patch ({self.patch}) must divide the frame size {self.shape}")
        if self.width % self.heads:
            raise ConfigError(f"the width ({self.width}) must be a multiple of the number of heads ({self.heads})")
        for modality, spec in self.specs.items():
            if isinstance(spec, VisualSpec) and (spec.height, spec.width) != self.shape:
                got = f"{spec.height} x {spec.width}"
                raise ConfigError(f"the spec of {modality!r} makes frames of {got}, but the encoder takes {self.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def build(self) -> PatchEncoder:
        return PatchEncoder(
            shape=self.shape,
            patch=self.patch,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            channels=self.channels,
            chunk=self.chunk,
            specs=self.specs,
        )


class _Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp_ratio * width)
        self.down = nn.Linear(mlp_ratio * width, width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.output(self.attention(self.norm1(states)))
        return states + self.down(functional.gelu(self.up(self.norm2(states))))


class PatchEncoder(nn.Module):
    """Frames → one token per patch, in row-major order; trained positions, final norm, no CLS token."""

    def __init__(
        self,
        *,
        shape: tuple[int, int],
        patch: int,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: int,
        channels: int,
        chunk: int | None,
        specs: dict[str, VisualSpec | AudioSpec],
    ) -> None:
        super().__init__()
        self.specs = dict(specs)
        self.width = width
        self.num_tokens = (shape[0] // patch) * (shape[1] // patch)
        self.frame_shape = (channels, *shape)
        self.patch = patch
        self.chunk = chunk
        self.patch_embedding = nn.Linear(channels * patch * patch, width)
        self.position_embedding = nn.Parameter(torch.empty(self.num_tokens, width))
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        reset_normal(self)
        nn.init.normal_(self.position_embedding, std=0.02)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, 1, channels, H, W), or (R, T, frames, mels) for audio → (R, T, N, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: frames of another size, or more than one frame per time step.
        """
        check_modality(modality, self.specs, "patch")
        if values.ndim == 4:  # a log-mel window is an image with one channel
            values = values[:, :, None, None]
        if values.ndim != 6 or tuple(values.shape[2:]) != (1, *self.frame_shape):
            raise ShapeError(
                f"the patch encoder expects (R, T, 1, {', '.join(map(str, self.frame_shape))}), got {tuple(values.shape)}"
            )
        values = values[:, :, 0].to(self.position_embedding.dtype)
        return encode_steps(self.forward, values, self.chunk)

    def forward(self, frames: Tensor) -> Tensor:
        """(G, channels, H, W) → (G, N, C)."""
        patches = functional.unfold(frames, self.patch, stride=self.patch).transpose(1, 2)
        states = self.patch_embedding(patches) + self.position_embedding
        for block in self.blocks:
            states = block(states)
        return self.norm(states)
