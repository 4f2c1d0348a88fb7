"""A stream's parameter-free pooling: what may be done to tokens before the feature store."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vidweave.errors import ConfigError, ShapeError
from vidweave.types import PoolSpec

__all__ = ["pool_seconds", "pool_tokens"]


def pool_tokens(values: Tensor, pool: PoolSpec | None) -> Tensor:
    """Average tokens (R, T, N, C) over time and over a square grid, as `pool` says.

    Raises:
        ShapeError: the patch tokens form no square; the message gives their number.
        ConfigError: T is no multiple of `pool.time`.
    """
    if pool is None:
        return values
    if pool.drop_cls:
        values = values[:, :, 1:]
    if pool.time > 1:
        _check_time(values.shape[1], pool)
        values = values.unflatten(1, (-1, pool.time)).mean(2)
    if pool.grid is not None:
        rows, groups, tokens, width = values.shape
        side = math.isqrt(tokens)
        if side * side != tokens:
            raise ShapeError(
                f"pool.grid={pool.grid} needs a square number of patch tokens, got {tokens}; set drop_cls?"
            )
        grid = values.reshape(rows * groups, side, side, width).permute(0, 3, 1, 2)
        values = adaptive_avg_pool2d(grid, pool.grid).flatten(2).transpose(1, 2).reshape(rows, groups, -1, width)
    return values


def pool_seconds(seconds: Tensor, mask: Tensor, pool: PoolSpec | None) -> tuple[Tensor, Tensor]:
    """Times (R, T, 2) and mask (R, T) that go with `pool_tokens`' output; raises ConfigError as it does."""
    if pool is None or pool.time == 1:
        return seconds, mask
    _check_time(seconds.shape[1], pool)
    grouped = seconds.unflatten(1, (-1, pool.time))
    merged = torch.stack([grouped[:, :, 0, 0], grouped[:, :, -1, 1]], dim=-1)
    return merged, mask.unflatten(1, (-1, pool.time)).all(2)


def _check_time(groups: int, pool: PoolSpec) -> None:
    if groups % pool.time:
        raise ConfigError(f"pool.time={pool.time} does not divide the stream's {groups} groups; change num_frames")
