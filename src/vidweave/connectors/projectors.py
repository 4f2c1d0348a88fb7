"""Projectors: reduce one encoder's tokens by pooling over grid and time, then map them to another width.

Kinds of pooling, for a whole clip (R, T, N, C):

- `average`: adaptive average over the grid, and over `time` neighboring segments; no parameters. The stream's own pool
  (`PoolSpec`) does the same before the feature store and is the better place, unless several token budgets are compared
  on the same stored features.
- `conv2d`: RegNet bottlenecks around the average, segment by segment.
- `conv3d`: one 3 x 3 x 3 convolution over grid and time before the average.

The head is a stack of linear layers, an `MLP`; for tokens that are few already, use that trunk alone. A learned
resampler is a trunk of its own too (`vidweave.connectors.resampler`).
"""

# Axes: R rows, T segments, N = S * S tokens, C key width, H width, t = T / time output segments

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.connectors.mlp import MLP
from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.grid import from_planes, grid_side, pool_grid, to_planes
from vidweave.nn.regnet import RegNetStage
from vidweave.types import ComponentConfig, TrunkInput

__all__ = ["Projector", "ProjectorConfig"]

PoolKind = Literal["average", "conv2d", "conv3d"]


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig(ComponentConfig):
    """See the module.

    Attributes:
        key_width: C.
        pooling: Kind of pooling.
        num_tokens: Token budget per segment, a square.
        time: Number of neighboring segments that are averaged to one.
        conv_width: Output width of the convolutions; None is `key_width`.
        widths: Widths of the head's linear layers; see `vidweave.connectors.mlp.head_widths`.
    """

    kind: ClassVar[str] = "projector"
    key_width: int
    pooling: PoolKind = "average"
    num_tokens: int
    time: int = 1
    conv_width: int | None = None
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min((self.key_width, self.time, *self.widths, self.conv_width or 1)) < 1:
            raise ConfigError(f"widths and time of a projector must be at least 1, got {self}")
        if self.pooling == "conv2d" and self.time != 1:
            raise ConfigError(f"pooling='conv2d' keeps every segment; time={self.time} needs 'average' or 'conv3d'")
        if self.conv_width is not None and self.pooling == "average":
            raise ConfigError(f"conv_width={self.conv_width} does nothing with pooling='average'; leave it out")
        try:
            grid_side(self.num_tokens, "num_tokens, the token budget of a segment,")
        except ShapeError as error:
            raise ConfigError(str(error)) from None

    @property
    def inside_width(self) -> int:
        """Width of the pooled tokens, before the head."""
        return self.key_width if self.conv_width is None else self.conv_width

    @property
    def needs_clip(self) -> bool:
        """Whether it merges neighboring segments, so that its port's span must be `clip`."""
        return self.time > 1 or self.pooling == "conv3d"

    def build(self) -> Projector:
        return Projector(self)


class Projector(Trunk):
    """keys (R, T, N, C) → (R, t, num_tokens, H)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.key_width = config.key_width
        self.num_tokens: int = config.num_tokens
        self.time, self.needs_clip = config.time, config.needs_clip
        self.pooling = _build_pooling(config)
        self.head = MLP(config.inside_width, config.widths)
        self.width = self.head.width

    def over_time(self, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Project whole clips: keys (R, T, N, C), mask (R, T, N), real segments first → (R, t, Q, H) and its mask (R, t, Q).

        Raises:
            ShapeError: a segment of which only some tokens are real, a grid that is no square, or a number of segments
                that `time` does not divide.
        """
        real = _whole_segments(mask)
        self._check_segments(real.sum(1))
        keys = keys if bool(real.all()) else keys.masked_fill(~real[..., None, None], 0.0)
        pooled = self.pooling(keys) if keys.numel() else self._empty(keys)
        real = real[:, : pooled.shape[1] * self.time].unflatten(1, (-1, self.time)).any(2)
        return self.head.project(pooled), real[..., None].expand(pooled.shape[:3])

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Project one segment per row: keys (R, N, C) → (R, num_tokens, H).

        Raises:
            ConfigError: query tokens, text or adapters were given, which a projector does not take; or it merges segments.
        """
        self.refuse(queries=inputs.queries, text=inputs.text, adapter=inputs.adapter)
        if self.time > 1:
            raise ConfigError(f"this projector merges {self.time} segments; give it whole clips (span='clip')")
        keys, mask = inputs.keys, inputs.mask
        mask = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device) if mask is None else mask
        return self.over_time(keys[:, None], mask[:, None])[0][:, 0]

    def _check_segments(self, counts: Tensor) -> None:
        wrong = (counts % self.time).nonzero()
        if self.time > 1 and len(wrong):
            count = int(counts[wrong[0]])
            raise ShapeError(
                f"a projector merges {self.time} segments to one, a clip has {count}; change its num_frames"
            )

    def _empty(self, keys: Tensor) -> Tensor:
        width = self.head.key_width
        return keys.new_zeros(keys.shape[0], keys.shape[1] // self.time, self.num_tokens, width)


class _Average(nn.Module):
    """(R, T, N, C) → (R, T // time, num_tokens, C)."""

    def __init__(self, num_tokens: int, time: int) -> None:
        super().__init__()
        self.side, self.time = grid_side(num_tokens, "a token budget"), time

    def forward(self, tokens: Tensor) -> Tensor:
        whole = tokens.shape[1] // self.time * self.time  # what is cut off is padding of a shorter batch
        tokens = tokens[:, :whole].unflatten(1, (-1, self.time)).mean(2)
        pooled = pool_grid(tokens.flatten(0, 1), self.side, "a pooling projector")
        return pooled.unflatten(0, tokens.shape[:2])


class _Conv2d(nn.Module):
    """Bottlenecks, the average, bottlenecks; each segment separately."""

    def __init__(self, key_width: int, width: int, average: _Average) -> None:
        super().__init__()
        self.before = RegNetStage(key_width, width)
        self.average = average
        self.after = RegNetStage(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        shape = tokens.shape[:2]
        mixed = from_planes(self.before(to_planes(tokens.flatten(0, 1), "a convolution")))
        pooled = self.average(mixed.unflatten(0, shape)).flatten(0, 1)
        return from_planes(self.after(to_planes(pooled))).unflatten(0, shape)


class _Conv3d(nn.Module):
    """A convolution over grid and time, zeros beyond the borders, then the average."""

    def __init__(self, key_width: int, width: int, average: _Average) -> None:
        super().__init__()
        self.conv = nn.Conv3d(key_width, width, 3, padding=1)
        self.average = average

    def forward(self, tokens: Tensor) -> Tensor:
        planes = to_planes(tokens.flatten(0, 1), "a convolution").unflatten(0, tokens.shape[:2])
        mixed = self.conv(planes.transpose(1, 2))  # (R, H, T, S, S)
        return self.average(mixed.flatten(3).permute(0, 2, 3, 1))


def _build_pooling(config: ProjectorConfig) -> nn.Module:
    average = _Average(config.num_tokens, config.time)
    if config.pooling == "average":
        return average
    kind = _Conv2d if config.pooling == "conv2d" else _Conv3d
    return kind(config.key_width, config.inside_width, average)


def _whole_segments(mask: Tensor) -> Tensor:
    """(R, T) True where a segment is real; ShapeError if only some of its tokens are."""
    real, whole = mask.any(-1), mask.all(-1)
    if bool((real != whole).any()):
        row, segment = (real != whole).nonzero()[0].tolist()
        raise ShapeError(
            f"segment {segment} of row {row} has {int(mask[row, segment].sum())} of {mask.shape[2]} tokens; a grid needs all"
        )
    return real
