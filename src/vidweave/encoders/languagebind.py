"""LanguageBind's video tower: CLIP's vision transformer with temporal attention in every layer.

transformers has no such tower. Temporal attention is limited to windows of `window` frames: a window is one time step here,
so neither windows nor clips ever mix (the original reshapes the whole batch by 8 and mixes clips whose number of frames is
not a multiple of it). Nothing is flipped; the original randomly flips half of all clips, even in evaluation.
"""

# Axes: R rows, T time steps, W window (frames per time step), G = R * T, N tokens per frame, C width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import MultiHeadAttention
from vidweave.nn.keys import KeyTable
from vidweave.types import ComponentConfig, VisualSpec

__all__ = ["LANGUAGEBIND_KEYS", "LanguageBind", "LanguageBindConfig"]


@dataclass(frozen=True, kw_only=True)
class LanguageBindConfig(ComponentConfig):
    """Size of the tower; by default the released one (24 layers with temporal attention, OpenCLIP ViT-L/14).

    Attributes:
        width, mlp_width, layers, heads, patch, size: Sizes of the transformer.
        window: Frames per time step, which attend to one another.
        layer: Index of the returned hidden state: -1 after the last layer, -2 before it. Later layers are not built.
        drop_cls: Drop each frame's class token.
        final_norm: Apply the tower's last norm, which belongs to the last layer.
        chunk: Time steps per forward pass; None is all.
        specs: Modality → preprocessing to frames.
    """

    kind: ClassVar[str] = "languagebind"
    width: int = 1024
    mlp_width: int = 4096
    layers: int = 24
    heads: int = 16
    patch: int = 14
    size: int = 224
    window: int = 8
    layer: int = -1
    drop_cls: bool = False
    final_norm: bool = False
    chunk: int | None = None
    specs: dict[str, VisualSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size % self.patch or self.window < 1:
            raise ConfigError(f"the patch ({self.patch}) must divide the size ({self.size}) and window be at least 1")
        if not 0 <= self.kept_layers <= self.layers:
            raise ConfigError(f"layer {self.layer} is outside the hidden states 0..{self.layers} of this tower")
        if self.final_norm and self.kept_layers != self.layers:
            raise ConfigError(f"final_norm belongs to the last layer, but layer is {self.layer}; set final_norm=False")
        for modality, spec in self.specs.items():
            if (spec.height, spec.width) != (self.size, self.size):
                got = f"{spec.height} x {spec.width}"
                raise ConfigError(f"the spec of {modality!r} makes frames of {got}, but the tower takes {self.size}")

    @property
    def kept_layers(self) -> int:
        """Number of layers that are built."""
        return self.layer if self.layer >= 0 else self.layers + 1 + self.layer

    def build(self) -> LanguageBind:
        return LanguageBind(self)


class _Layer(nn.Module):
    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        width = config.width
        self.temporal_embedding = nn.Parameter(torch.zeros(config.window, width))
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal_attention = MultiHeadAttention(width, config.heads)
        self.temporal_output = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, config.heads)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(G, W, N, C); the temporal embedding is added to the states themselves, not only to the attention input."""
        over_time = states.transpose(1, 2) + self.temporal_embedding  # (G, N, W, C)
        seen = self.temporal_attention(self.temporal_norm(over_time).flatten(0, 1)).view(over_time.shape)
        states = (over_time + self.temporal_output(seen)).transpose(1, 2)
        seen = self.attention(self.norm1(states).flatten(0, 1)).view(states.shape)
        states = states + self.output(seen)
        return states + self.down(functional.gelu(self.up(self.norm2(states))))


class LanguageBind(nn.Module):
    """See LanguageBindConfig. Tokens of a time step are ordered by frame: split them with `PoolSpec(steps=window)`."""

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__()
        self.specs = dict(config.specs)
        self.width, self.window, self.chunk = config.width, config.window, config.chunk
        self.num_dropped = int(config.drop_cls)
        self.frame_shape = (3, config.size, config.size)
        patches = (config.size // config.patch) ** 2
        self.num_tokens = config.window * (patches + 1 - self.num_dropped)
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        self.position_embedding = nn.Parameter(torch.zeros(patches + 1, config.width))
        nn.init.normal_(self.class_embedding, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.02)
        self.pre_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.kept_layers))
        self.final_norm = nn.LayerNorm(config.width) if config.final_norm else None

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, W, 3, H, W) → (R, T, W * N, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: frames of another size, or another number of frames per time step.
        """
        check_modality(modality, self.specs, "LanguageBind")
        expected = (self.window, *self.frame_shape)
        if values.ndim != 6 or tuple(values.shape[2:]) != expected:
            raise ShapeError(
                f"LanguageBind expects (R, T, {', '.join(map(str, expected))}), got {tuple(values.shape)}; "
                f"give its stream a window of {self.window} frames"
            )
        dtype = self.class_embedding.dtype
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], self.num_tokens, self.width, dtype=dtype)
        return encode_steps(self, values.to(dtype), self.chunk)

    def forward(self, frames: Tensor) -> Tensor:
        """(G, W, 3, H, W) → (G, W * N, C)."""
        patches = self.patch_embedding(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        states = self.pre_norm(torch.cat([first, patches], 1) + self.position_embedding)
        states = states.unflatten(0, frames.shape[:2])
        for layer in self.layers:
            states = layer(states)
        states = states if self.final_norm is None else self.final_norm(states)
        return states[:, :, self.num_dropped :].flatten(1, 2)


# The released tower (without `vision_model.`) → ours. The caller drops layers after the returned one.
LANGUAGEBIND_KEYS = KeyTable(
    (
        ("embeddings.class_embedding", "class_embedding"),
        ("embeddings.patch_embedding.", "patch_embedding."),
        ("embeddings.position_embedding.weight", "position_embedding"),
        ("pre_layrnorm.", "pre_norm."),
        ("post_layernorm.", "final_norm."),
        ("encoder.layers.{i}.temporal_embedding", "layers.{i}.temporal_embedding"),
        ("encoder.layers.{i}.temporal_layer_norm1.", "layers.{i}.temporal_norm."),
        *(
            (f"encoder.layers.{{i}}.{theirs}.{name}.", f"layers.{{i}}.{ours}.")
            for theirs, prefix in (("self_attn", ""), ("temporal_attn", "temporal_"))
            for name, ours in (
                ("q_proj", f"{prefix}attention.query"),
                ("k_proj", f"{prefix}attention.key"),
                ("v_proj", f"{prefix}attention.value"),
                ("out_proj", f"{prefix}output"),
            )
        ),
        ("encoder.layers.{i}.layer_norm1.", "layers.{i}.norm1."),
        ("encoder.layers.{i}.layer_norm2.", "layers.{i}.norm2."),
        ("encoder.layers.{i}.mlp.fc1.", "layers.{i}.up."),
        ("encoder.layers.{i}.mlp.fc2.", "layers.{i}.down."),
    ),
    dropped=(r"embeddings\.position_ids", r"encoder\.layers\.\d+\.temporal_(layer_norm2|mlp)\..*"),
)
