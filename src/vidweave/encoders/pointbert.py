"""PointBERT as trained by ULIP-2: groups of neighboring points become transformer tokens, summarized in one vector.

Groups are the neighborhoods of points sampled far apart; a small convolutional network (mini-PointNet) makes a token of
each. Positions are added before every block. The summary token and the maximum over all others are projected together.
"""

# Axes: R rows, T time steps, B = R * T clouds, P points, G groups of points, K points of a group, D width,
#       E width of a group, C width of the result

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.encoders.chunked import check_modality, encode_steps
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.keys import KeyTable
from vidweave.nn.points import farthest_points, nearest_points, take_points
from vidweave.types import ComponentConfig, PointSpec

__all__ = ["ULIP", "ULIP_POINTS", "PointBert", "PointBertConfig", "pointbert_from_ulip"]

# Input that ULIP-2 was trained on: coordinates only, centered and scaled to the unit sphere.
ULIP_POINTS = PointSpec(num_points=8192, sampling="farthest")
_FIRST_WIDTHS, _POSITION_WIDTH = (128, 256, 512), 128


@dataclass(frozen=True, kw_only=True)
class PointBertConfig(ComponentConfig):
    """Size of a PointBERT; the defaults are those of ULIP-2.

    Attributes:
        width: C.
        hidden: D.
        layers, heads: Sizes of the transformer.
        num_groups, group_size: G and K.
        group_width: E.
        first_point: Start of farthest point sampling. ULIP draws it randomly, so its results differ from run to run.
        chunk: Clouds per forward pass; None is all.
        specs: Modality → sampling of points.
    """

    kind: ClassVar[str] = "pointbert"
    width: int = 512
    hidden: int = 384
    layers: int = 12
    heads: int = 6
    num_groups: int = 512
    group_size: int = 32
    group_width: int = 256
    first_point: int = 0
    chunk: int | None = 8
    specs: dict[str, PointSpec] = field(default_factory=lambda: {"point_cloud": ULIP_POINTS})

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ConfigError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        needed = max(self.num_groups, self.group_size, self.first_point + 1)
        for modality, spec in self.specs.items():
            if spec.feature_width:
                raise ConfigError(
                    f"the spec of {modality!r} makes {spec.feature_width} features per point, but PointBERT only takes "
                    "coordinates; set feature_width=0"
                )
            if spec.num_points < needed:
                raise ConfigError(
                    f"the spec of {modality!r} makes {spec.num_points} points, but PointBERT needs at least {needed} "
                    "(num_groups, group_size, first_point)"
                )

    def build(self) -> PointBert:
        return PointBert(self)


class _GroupEncoder(nn.Module):
    """Mini-PointNet: points of each group (B, G, K, 3), relative to its center → (B, G, E)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        small, middle, large = _FIRST_WIDTHS
        self.first_conv = _two_layers(3, small, middle)
        self.second_conv = _two_layers(2 * middle, large, width)

    def forward(self, groups: Tensor) -> Tensor:
        each = self.first_conv(groups.flatten(0, 1).transpose(1, 2))
        whole = each.amax(-1, keepdim=True).expand_as(each)
        return self.second_conv(torch.cat([whole, each], 1)).amax(-1).unflatten(0, groups.shape[:2])


def _two_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(width, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Conv1d(hidden, out, 1))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = self.qkv(states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attn(self.norm1(states))
        return states + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(states))))


class PointBert(nn.Module):
    """See PointBertConfig; parameter names as in ULIP's `point_encoder`, plus its projection."""

    num_tokens = 1

    def __init__(self, config: PointBertConfig) -> None:
        super().__init__()
        self.config, self.specs, self.width = config, dict(config.specs), config.width
        hidden = config.hidden
        self.group_encoder = _GroupEncoder(config.group_width)
        self.reduce_dim = nn.Linear(config.group_width, hidden)
        self.cls_token, self.cls_pos = (nn.Parameter(torch.zeros(1, 1, hidden)) for _ in range(2))
        self.pos_embed = nn.Sequential(nn.Linear(3, _POSITION_WIDTH), nn.GELU(), nn.Linear(_POSITION_WIDTH, hidden))
        self.blocks = nn.ModuleList(_Block(hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(hidden)
        self.projection = nn.Parameter(torch.empty(2 * hidden, config.width))
        for parameter in (self.cls_token, self.cls_pos, self.projection):
            nn.init.normal_(parameter, std=0.02)

    def encode(self, values: Tensor, modality: str) -> Tensor:
        """(R, T, P, 3) → (R, T, 1, C).

        Raises:
            ModalityError: no spec for `modality`.
            ShapeError: columns other than coordinates, or too few points.
        """
        check_modality(modality, self.specs, "point")
        if values.ndim != 4 or values.shape[-1] != 3:
            raise ShapeError(f"PointBERT expects points (R, T, points, 3), got {tuple(values.shape)}")
        if not values.shape[0] * values.shape[1]:
            return values.new_zeros(*values.shape[:2], 1, self.width)
        return encode_steps(self, values, self.config.chunk)

    def forward(self, points: Tensor) -> Tensor:
        """(B, P, 3) → (B, 1, C)."""
        return (self.summary(points) @ self.projection)[:, None]

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return centers (B, G, 3), and the points nearest to each, relative to it (B, G, K, 3)."""
        first = farthest_points(points, self.config.num_groups, self.config.first_point)
        centers = take_points(points, first)
        near = nearest_points(points, centers, self.config.group_size)
        return centers, take_points(points, near) - centers[:, :, None]

    def summary(self, points: Tensor) -> Tensor:
        """(B, P, 3) → (B, 2 D): the summary token, and the maximum over all groups."""
        centers, groups = self.group(points)
        count = len(points)
        tokens = self.reduce_dim(self.group_encoder(groups))
        states = torch.cat([self.cls_token.expand(count, -1, -1), tokens], 1)
        places = torch.cat([self.cls_pos.expand(count, -1, -1), self.pos_embed(centers)], 1)
        for block in self.blocks:
            states = block(states + places)
        states = self.norm(states)
        return torch.cat([states[:, 0], states[:, 1:].amax(1)], -1)


# ULIP's file (`state_dict` without `module.`) → ours. Its text and image towers and the contrastive parameters are
# dropped.
ULIP = KeyTable(
    (
        ("pc_projection", "projection"),
        ("point_encoder.encoder.", "group_encoder."),
        ("point_encoder.blocks.blocks.{i}.", "blocks.{i}."),
        ("point_encoder.reduce_dim.", "reduce_dim."),
        ("point_encoder.pos_embed.", "pos_embed."),
        ("point_encoder.norm.", "norm."),
        ("point_encoder.cls_token", "cls_token"),
        ("point_encoder.cls_pos", "cls_pos"),
    ),
    dropped=(
        r"(visual|vision_model|transformer|token_embedding|ln_final|open_clip_model)\..*",
        r"positional_embedding|text_projection|image_projection|logit_scale",
        r"point_encoder\.cls_head_finetune\..*",
    ),
)


def pointbert_from_ulip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert ULIP's names to ours.

    Raises:
        CheckpointError: an unknown key.
    """
    return ULIP.to_ours(state)
