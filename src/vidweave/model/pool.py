"""Parameter-free pooling of a stream's tokens, applied before the feature store."""

from __future__ import annotations

import torch
from torch import Tensor

from vidweave.connectors.segments import merge_seconds
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.grid import pool_grid
from vidweave.types import PoolSpec

__all__ = ["pool_segments", "pool_seconds", "pool_tokens"]


def pool_segments(segments: int, pool: PoolSpec | None) -> int:
    """Number of segments after `pool_tokens`; raises the same ConfigError."""
    if pool is None:
        return segments
    _check_time(segments * pool.steps, pool)
    return segments * pool.steps // pool.time


def pool_tokens(values: Tensor, pool: PoolSpec | None) -> Tensor:
    """Pool tokens (R, T, N, C) of a stream as configured: split into steps, averaged over time and over a square grid.

    Raises:
        ShapeError: the patch tokens do not form a square, or not `steps` equal parts; the message gives their number.
        ConfigError: the number of segments is no multiple of `pool.time`.
    """
    if pool is None:
        return values
    if pool.drop_cls:
        values = values[:, :, 1:]
    if values.shape[2] % pool.steps:
        raise ShapeError(f"{values.shape[2]} tokens are no {pool.steps} equal steps (PoolSpec.steps); set drop_cls?")
    if pool.steps > 1:
        values = values.unflatten(2, (pool.steps, -1)).flatten(1, 2)
    if pool.time > 1:
        _check_time(values.shape[1], pool)
        values = values.unflatten(1, (-1, pool.time)).mean(2)
    if pool.grid is not None:
        segments = pool_grid(values.flatten(0, 1), pool.grid, f"pool.grid={pool.grid}")
        values = segments.unflatten(0, values.shape[:2])
    return values


def pool_seconds(seconds: Tensor, mask: Tensor, pool: PoolSpec | None) -> tuple[Tensor, Tensor]:
    """Times (R, T, 2) and mask (R, T) that go with `pool_tokens`' output; raises ConfigError as it does."""
    if pool is None or pool.time == pool.steps == 1:
        return seconds, mask
    if pool.steps > 1:
        seconds, mask = _steps(seconds, pool.steps), mask.repeat_interleave(pool.steps, 1)
    _check_time(seconds.shape[1], pool)
    return merge_seconds(seconds, pool.time), mask.unflatten(1, (-1, pool.time)).all(2)


def _steps(seconds: Tensor, steps: int) -> Tensor:
    """(R, T, 2) → (R, T * steps, 2): equal parts of each segment."""
    share = torch.arange(steps + 1, dtype=seconds.dtype, device=seconds.device) / steps
    borders = seconds[..., :1] + (seconds[..., 1:] - seconds[..., :1]) * share
    return torch.stack([borders[..., :-1], borders[..., 1:]], -1).flatten(1, 2)


def _check_time(segments: int, pool: PoolSpec) -> None:
    if segments % pool.time:
        raise ConfigError(f"pool.time={pool.time} does not divide the stream's {segments} segments; change num_frames")
