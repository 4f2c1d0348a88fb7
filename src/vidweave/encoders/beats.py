"""BEATs, an audio transformer over log-mel patches (Chen et al. 2022, arXiv 2212.09058).

Post-norm blocks with DeepNorm's residual scale, positions by a grouped convolution, and T5-style relative positions gated
per head by the query (WavLM's gate). All layers share the first layer's table of relative positions.
"""

# Axes: R rows, T windows, W = R * T windows, F mel frames, M mel bins, N patches (time-major), C width, A heads,
#       D width of a head

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import CheckpointError, ConfigError, ShapeError
from vidweave.nn.keys import KeyTable
from vidweave.types import AudioSpec, ComponentConfig

__all__ = ["BEATS_AUDIO", "Beats", "BeatsConfig", "beats_from_microsoft", "beats_to_microsoft"]

# What BEATs was trained on, in CREMA's windows: two of 512 frames; longer clips get more (`max_windows`).
BEATS_AUDIO = AudioSpec(
    sample_rate=16_000,
    window_seconds=5.12,
    max_windows=12,
    min_windows=2,
    mel_bins=128,
    windows_of="frames",
    scale=2.0**15,
    mel_mean=15.41663,
    mel_std=2 * 6.55582,
)


@dataclass(frozen=True, kw_only=True)
class BeatsConfig(ComponentConfig):
    """Size of a BEATs encoder; the defaults are those of BEATs iter3+.

    Attributes:
        width: C; must be a multiple of heads.
        layers, heads, intermediate: Sizes of the transformer.
        patch: Side of a patch; patches do not overlap.
        patch_width: Channels of a patch before projection.
        conv_width, conv_groups: Kernel size and groups of the positional convolution.
        num_buckets, max_distance: Relative position buckets.
        chunk: Windows per forward pass; None is all.
        specs: Modality → preprocessing of audio to log-mel windows.
    """

    kind: ClassVar[str] = "beats"
    width: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    patch: int = 16
    patch_width: int = 512
    conv_width: int = 128
    conv_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    chunk: int | None = 16
    specs: dict[str, AudioSpec] = field(default_factory=lambda: {"audio": BEATS_AUDIO})

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % self.conv_groups:
            raise ConfigError(f"width ({self.width}) must be a multiple of heads and conv_groups")
        for modality, spec in self.specs.items():
            if not spec.mel_bins or spec.mel_bins % self.patch:
                raise ConfigError(
                    f"the spec of {modality!r} has {spec.mel_bins} mel bins, but a patch of {self.patch} needs at least as many"
                )

    def build(self) -> Beats:
        return Beats(self)


class _Attention(nn.Module):
    """Self-attention with gated relative positions; parameter names as in BEATs."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.width
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.grep_linear = nn.Linear(width // config.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """states (W, N, C), positions (A, N, N) → (W, N, C)."""
        query, key, value = (self._split(layer(states)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        first, second = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, -1)
        gate = first * (second * self.grep_a - 1.0) + 2.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=gate * positions)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _Layer(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.residual = (2 * config.layers) ** 0.25

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        states = self.self_attn_layer_norm(self.residual * states + self.self_attn(states, positions))
        return self.final_layer_norm(self.residual * states + self.fc2(functional.gelu(self.fc1(states))))


class Beats(nn.Module):
    """Log-mel windows → one token per patch, ordered by time, then frequency."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config, self.specs = config, dict(config.specs)
        self.width = config.width
        self.patch_embedding = nn.Conv2d(1, config.patch_width, config.patch, config.patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        self.post_extract_proj = nn.Linear(config.patch_width, config.width)
        self.pos_conv = nn.Conv1d(
            config.width, config.width, config.conv_width, padding=config.conv_width // 2, groups=config.conv_groups
        )
        self.encoder_norm = nn.LayerNorm(config.width)
        self.relative_bias = nn.Embedding(config.num_buckets, config.heads)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, F, M) → (R, T, N, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: windows that are not a multiple of the patch size.
        """
        check_modality(modality, self.specs, "audio")
        patch = self.config.patch
        if values.ndim != 4 or values.shape[2] % patch or values.shape[3] % patch or not values.shape[2]:
            raise ShapeError(
                f"BEATs expects log-mel windows (R, T, frames, bins) in multiples of {patch}, got {tuple(values.shape)}"
            )
        if not values.shape[0] * values.shape[1]:
            tokens = (values.shape[2] // patch) * (values.shape[3] // patch)
            return values.new_zeros(*values.shape[:2], tokens, self.width)
        return encode_steps(self, values, self.config.chunk)

    def forward(self, windows: Tensor) -> Tensor:
        """(W, F, M) → (W, N, C)."""
        patches = self.patch_embedding(windows[:, None]).flatten(2).transpose(1, 2)
        states = self.post_extract_proj(self.layer_norm(patches))
        marks = self.pos_conv(states.transpose(1, 2)).transpose(1, 2)[:, : states.shape[1]]  # an even kernel adds one
        states = self.encoder_norm(states + functional.gelu(marks))
        positions = self._positions(states.shape[1], states.device)
        for layer in self.layers:
            states = layer(states, positions)
        return states

    def _positions(self, length: int, device: torch.device) -> Tensor:
        """(A, N, N) bias of every pair of positions."""
        places = torch.arange(length, device=device)
        buckets = _bucket(places[None] - places[:, None], self.config.num_buckets, self.config.max_distance)
        return self.relative_bias(buckets).permute(2, 0, 1)


def _bucket(distance: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """T5's bidirectional buckets: one per small distance, logarithmic for large ones."""
    half = num_buckets // 2
    exact = half // 2
    size = distance.abs()
    log = (size.clamp(min=1).float() / exact).log() / math.log(max_distance / exact) * (half - exact)
    far = (exact + log.long()).clamp(max=half - 1)
    return (distance > 0).long() * half + torch.where(size < exact, size, far)


# Microsoft's files (`model` of BEATs_iter3_plus_AS2M.pt) → ours; the classifier of fine-tuned files is dropped
_MICROSOFT = KeyTable(
    (
        ("patch_embedding.", "patch_embedding."),
        ("layer_norm.", "layer_norm."),
        ("post_extract_proj.", "post_extract_proj."),
        ("encoder.pos_conv.0.", "pos_conv."),
        ("encoder.layer_norm.", "encoder_norm."),
        ("encoder.layers.0.self_attn.relative_attention_bias.", "relative_bias."),
        ("encoder.layers.{i}.", "layers.{i}."),
    ),
    dropped=(r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight", r"predictor\..*"),
)
_WEIGHT_NORM = (
    ("encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v"),
    ("encoder.pos_conv.0.parametrizations.weight.original0", "encoder.pos_conv.0.parametrizations.weight.original1"),
)


def beats_from_microsoft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert Microsoft's names to ours; the weight-normalized convolution becomes a plain one.

    Raises:
        CheckpointError: an unknown key, a convolution without its two parts, or layers with their own tables.
    """
    plain = dict(state)
    first = state.get("encoder.layers.0.self_attn.relative_attention_bias.weight")
    for key, value in state.items():
        if key.endswith("relative_attention_bias.weight") and (first is None or not torch.equal(value, first)):
            raise CheckpointError(f"{key} differs from the first layer's table, which all layers of BEATs share")
    pair = next((pair for pair in _WEIGHT_NORM if set(pair) <= state.keys()), None)
    if pair is None:
        raise CheckpointError("BEATs' file lacks encoder.pos_conv.0.weight_g and weight_v")
    length, direction = (plain.pop(name) for name in pair)
    norm = direction.float().norm(dim=(0, 1), keepdim=True)
    plain["encoder.pos_conv.0.weight"] = (direction.float() * (length.float() / norm)).to(direction.dtype)
    return _MICROSOFT.to_ours(plain)


def beats_to_microsoft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `beats_from_microsoft`."""
    theirs = _MICROSOFT.to_theirs(state)
    weight = theirs.pop("encoder.pos_conv.0.weight")
    theirs["encoder.pos_conv.0.weight_g"] = weight.norm(dim=(0, 1), keepdim=True)
    theirs["encoder.pos_conv.0.weight_v"] = weight
    table = theirs["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    numbers = {int(key.split(".")[2]) for key in theirs if key.startswith("encoder.layers.")}
    return theirs | {f"encoder.layers.{i}.self_attn.relative_attention_bias.weight": table for i in numbers}
