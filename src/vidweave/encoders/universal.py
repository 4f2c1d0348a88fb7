"""OneLLM's universal encoder: CLIP's frozen vision transformer for tokens of eight modalities (arXiv 2312.03700).

Frames are cut into patches as in CLIP. Every other modality has its own trained tokenizer and position table; its
tokens then go through the same transformer. Frames of one group (a clip, or a frame and its depth map) are encoded
separately and averaged.
"""

# Axes: R rows, T groups in time, G = R * T groups, W frames of a group, N tokens, C width; F mel frames, M mel bins,
#       P points, S samples, K channels

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import MultiHeadAttention, reset_normal
from vidweave.nn.points import farthest_points, nearest_points, take_points
from vidweave.types import AudioSpec, ComponentConfig, PointSpec, SeriesSpec, VisualSpec

__all__ = ["UniversalEncoder", "UniversalEncoderConfig"]

Spec = VisualSpec | AudioSpec | PointSpec | SeriesSpec


@dataclass(frozen=True, kw_only=True)
class UniversalEncoderConfig(ComponentConfig):
    """Sizes of the encoder; the defaults are those of OpenAI's CLIP ViT-L/14 and of OneLLM's tokenizers.

    Attributes:
        width, layers, heads, mlp_width, patch, size, norm_eps: Sizes of CLIP.
        sound_patch, sound_stride: Patches of log-mel frames, which overlap.
        num_groups, group_size: Groups of neighboring points, one token each. Neighbors are determined by the last three
            columns (colors, or coordinates before normalization).
        series_kernel: Samples of a series per token, with a token at every sample.
        vector_tokens: Tokens for a series of one sample.
        chunk: Groups encoded at a time; None is all.
        specs: Modality → preprocessing of its raw media. Frames need no parameters of their own.
    """

    kind: ClassVar[str] = "universal"
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_width: int = 4096
    patch: int = 14
    size: int = 224
    norm_eps: float = 1e-5
    sound_patch: int = 16
    sound_stride: int = 10
    num_groups: int = 1024
    group_size: int = 32
    series_kernel: int = 10
    vector_tokens: int = 8
    chunk: int | None = None
    specs: dict[str, Spec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size % self.patch or self.width % self.heads:
            raise ConfigError(f"patch and heads of a universal encoder must divide size and width, got {self}")
        for modality, spec in self.specs.items():
            self._check_spec(f"the spec of {modality!r}", spec)

    def _check_spec(self, what: str, spec: Spec) -> None:
        if isinstance(spec, VisualSpec) and (spec.height, spec.width) != (self.size, self.size):
            raise ConfigError(f"{what} makes frames of {spec.height} x {spec.width}, the encoder takes {self.size}")
        if isinstance(spec, AudioSpec) and min(spec.mel_bins, spec.window_frames) < self.sound_patch:
            raise ConfigError(f"{what} makes {spec.mel_bins} mel bins; patches of {self.sound_patch} need more")
        if isinstance(spec, PointSpec) and (spec.feature_width != 3 or spec.num_points < self.least_points):
            raise ConfigError(
                f"{what} makes {spec.num_points} points with {spec.feature_width} features; the encoder takes 3 features "
                f"and at least {self.least_points} points"
            )
        if isinstance(spec, SeriesSpec) and 1 < spec.length < self.series_kernel:
            raise ConfigError(f"{what} makes {spec.length} samples, a token needs {self.series_kernel}")

    @property
    def least_points(self) -> int:
        return max(self.num_groups, self.group_size)

    def build(self) -> UniversalEncoder:
        return UniversalEncoder(self)


class _Sound(nn.Module):
    """Log-mel frames (G, F, M) → one token per patch, row by row of equal pitch."""

    def __init__(self, config: UniversalEncoderConfig, spec: AudioSpec) -> None:
        super().__init__()
        size, stride = config.sound_patch, config.sound_stride
        self.conv = nn.Conv2d(1, config.width, size, stride)
        steps = [(length - size) // stride + 1 for length in (spec.mel_bins, spec.window_frames)]
        self.num_tokens = steps[0] * steps[1]

    def forward(self, frames: Tensor) -> Tensor:
        return self.conv(frames.transpose(1, 2)[:, None]).flatten(2).transpose(1, 2)


class _Points(nn.Module):
    """Points (G, P, 6) → one token per group of neighbors: the maximum over a linear layer on each."""

    def __init__(self, config: UniversalEncoderConfig) -> None:
        super().__init__()
        self.num_tokens, self.group_size = config.num_groups, config.group_size
        self.linear = nn.Linear(6, config.width)

    def forward(self, points: Tensor) -> Tensor:
        places = points[..., 3:]
        centers = take_points(places, farthest_points(places, self.num_tokens))
        near = nearest_points(places, centers, self.group_size)
        return self.linear(take_points(points, near)).amax(-2)


class _Samples(nn.Module):
    """Samples (G, S, K) → one token per run of samples."""

    def __init__(self, config: UniversalEncoderConfig, spec: SeriesSpec) -> None:
        super().__init__()
        self.conv = nn.Conv1d(spec.channels, config.width, config.series_kernel, bias=False)
        self.num_tokens = spec.length - config.series_kernel + 1

    def forward(self, samples: Tensor) -> Tensor:
        return self.conv(samples.transpose(1, 2)).transpose(1, 2)


class _Vector(nn.Module):
    """One sample (G, 1, K) → `vector_tokens` tokens; the linear layer's outputs are ordered by channel."""

    def __init__(self, config: UniversalEncoderConfig, spec: SeriesSpec) -> None:
        super().__init__()
        self.num_tokens = config.vector_tokens
        self.linear = nn.Linear(spec.channels, config.width * config.vector_tokens)

    def forward(self, sample: Tensor) -> Tensor:
        return self.linear(sample[:, 0]).unflatten(1, (-1, self.num_tokens)).transpose(1, 2)


def _tokenizer(config: UniversalEncoderConfig, spec: Spec) -> _Sound | _Points | _Samples | _Vector | None:
    if isinstance(spec, AudioSpec):
        return _Sound(config, spec)
    if isinstance(spec, PointSpec):
        return _Points(config)
    if isinstance(spec, SeriesSpec):
        return _Vector(config, spec) if spec.length == 1 else _Samples(config, spec)
    return None


class _Layer(nn.Module):
    """Block of CLIP, with its approximate GELU."""

    def __init__(self, config: UniversalEncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=config.norm_eps) for _ in range(2))
        self.attention = MultiHeadAttention(width, config.heads)
        self.output = nn.Linear(width, width)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.output(self.attention(self.norm1(states)))
        inner = self.up(self.norm2(states))
        return states + self.down(inner * (1.702 * inner).sigmoid())


class UniversalEncoder(nn.Module):
    """See UniversalEncoderConfig."""

    def __init__(self, config: UniversalEncoderConfig) -> None:
        super().__init__()
        self.config, self.specs, self.width = config, dict(config.specs), config.width
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        self.position_embedding = nn.Parameter(torch.zeros((config.size // config.patch) ** 2 + 1, config.width))
        tokenizers = {name: _tokenizer(config, spec) for name, spec in config.specs.items()}
        self.tokenizers = nn.ModuleDict({name: tokenizer for name, tokenizer in tokenizers.items() if tokenizer})
        self.positions = nn.ParameterDict(
            {n: torch.zeros(t.num_tokens + 1, config.width) for n, t in tokenizers.items() if t is not None}
        )
        self.pre_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.post_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        reset_normal(self)
        for parameter in (self.class_embedding, self.position_embedding, *self.positions.values()):
            nn.init.normal_(parameter, std=0.02)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, *payload) → (R, T, N, C); the class token comes first.

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: values of another shape than that of the spec.
        """
        check_modality(modality, self.specs, "universal")
        values = values.to(self.class_embedding.dtype)
        self._check_shape(values, modality)
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], self._num_tokens(modality), self.width)
        see = self._see if isinstance(self.specs[modality], VisualSpec) else lambda v: self._read(v, modality)
        return encode_steps(see, values, self.config.chunk)

    def _check_shape(self, values: Tensor, modality: str) -> None:
        spec = self.specs[modality]
        if isinstance(spec, VisualSpec):
            expected = (3, spec.height, spec.width)
            fits = values.ndim == 6 and values.shape[2] and tuple(values.shape[3:]) == expected
            shown = f"(R, T, frames, {', '.join(map(str, expected))})"
        else:
            expected = self._payload(spec)
            fits = tuple(values.shape[2:]) == expected
            shown = f"(R, T, {', '.join(map(str, expected))})"
        if not fits:
            raise ShapeError(f"the universal encoder takes {modality} as {shown}, got {tuple(values.shape)}")

    @staticmethod
    def _payload(spec: Spec) -> tuple[int, ...]:
        if isinstance(spec, AudioSpec):
            return (spec.window_frames, spec.mel_bins)
        return (spec.num_points, 6) if isinstance(spec, PointSpec) else spec.payload()  # type: ignore[union-attr]

    def _num_tokens(self, modality: str) -> int:
        return len(self.positions.get(modality, self.position_embedding))

    def _see(self, frames: Tensor) -> Tensor:
        """(G, W, 3, H, W) → (G, N, C), the mean over the frames of each group."""
        patches = self.patch_embedding(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        return self._transform(patches, self.position_embedding).unflatten(0, frames.shape[:2]).mean(1)

    def _read(self, values: Tensor, modality: str) -> Tensor:
        return self._transform(self.tokenizers[modality](values), self.positions[modality])

    def _transform(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(G, N - 1, C) → (G, N, C)."""
        summary = self.class_embedding.expand(len(tokens), 1, -1)
        states = self.pre_norm(torch.cat([summary, tokens], 1) + positions)
        for layer in self.layers:
            states = layer(states)
        return self.post_norm(states)
