"""Resize, crop and normalize frames as the video processors of transformers do, without torchvision."""

# Axes: T frames, C channels, H height, W width, P patches

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vidweave.errors import CheckpointError, MediaError

__all__ = [
    "PixelSettings",
    "center_crop",
    "fit_budget",
    "normalize",
    "patchify",
    "resize",
    "resize_short_side",
    "to_channels_first",
]

LANCZOS = 1
_MODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # numbers of Pillow, as configurations hold them


@dataclass(frozen=True, kw_only=True)
class PixelSettings:
    """Settings of a video or image processor, by transformers' names.

    Attributes:
        size: `height` and `width`; `shortest_edge` alone; or a budget: `shortest_edge` and `longest_edge` in pixels.
        crop_size: Size of the center crop; None for none.
        resample: Pillow's number of the filter.
        mean, std: Per channel, of values in 0..1.
        scale: Factor of 8-bit values (`rescale_factor`).
        more: All settings, for those of a single family.
    """

    size: Mapping[str, int]
    crop_size: Mapping[str, int] | None
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    more: Mapping[str, Any]

    @classmethod
    def of(cls, settings: Mapping[str, Any], where: str) -> Self:
        """Read merged settings; raises CheckpointError for values that are not of the expected form."""
        size = settings.get("size") or {}
        low, high = settings.get("min_pixels"), settings.get("max_pixels")
        if low is not None or high is not None:  # names before `size`
            size = {**_as_size(size, where), **{k: v for k, v in _budget(low, high) if v is not None}}
        crop = settings.get("crop_size") if settings.get("do_center_crop") else None
        mean, std = settings.get("image_mean", (0.0,) * 3), settings.get("image_std", (1.0,) * 3)
        if settings.get("do_normalize") is False:
            mean, std = (0.0,) * 3, (1.0,) * 3
        scale = 1.0 if settings.get("do_rescale") is False else settings.get("rescale_factor", 1 / 255)
        try:
            return cls(
                size=_as_size(size, where),
                crop_size=None if crop is None else _as_size(crop, where),
                resample=int(settings.get("resample", 3)),
                mean=tuple(float(v) for v in mean),
                std=tuple(float(v) for v in std),
                scale=float(scale),
                more=settings,
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the preprocessing settings of {where} cannot be read: {error}") from error

    def number(self, name: str) -> int:
        """A positive whole number among the settings; raises CheckpointError."""
        value = self.more.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"the preprocessing setting {name!r} must be a positive number, got {value!r}")
        return value

    def with_budget(self, max_pixels: int | None) -> Self:
        """The same with another upper bound of pixels."""
        return self if max_pixels is None else replace(self, size={**self.size, "longest_edge": max_pixels})


def _budget(low: Any, high: Any) -> tuple[tuple[str, Any], ...]:
    return ("shortest_edge", low), ("longest_edge", high)


def _as_size(size: Any, where: str) -> dict[str, int]:
    if isinstance(size, int):
        return {"height": size, "width": size}
    if isinstance(size, Mapping) and all(isinstance(v, int) for v in size.values() if v is not None):
        return {str(k): int(v) for k, v in size.items() if v is not None}
    raise CheckpointError(f"the preprocessing settings of {where} hold no readable size: {size!r}")


def to_channels_first(frames: np.ndarray) -> Tensor:
    """Frames (T, H, W, 3) uint8 → (T, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def resize(frames: Tensor, height: int, width: int, resample: int) -> Tensor:
    """Resize 8-bit frames (T, C, H, W) with antialiasing, in 8 bits: equal to torchvision's `resize` on the CPU."""
    if tuple(frames.shape[-2:]) == (height, width):
        return frames
    if resample not in _MODES:
        raise CheckpointError(f"the resampling filter {resample!r} is not supported; known: {sorted(_MODES)}")
    if resample == LANCZOS and not _torch_has_lanczos():
        return _resize_by_pillow(frames, height, width, Image.Resampling.LANCZOS)
    mode = _MODES[resample]
    if mode == "nearest":
        return F.interpolate(frames, (height, width), mode=mode)
    return F.interpolate(frames, (height, width), mode=mode, align_corners=False, antialias=True)


def fit_budget(
    height: int,
    width: int,
    *,
    factor: int,
    least: int,
    most: int,
    num_frames: int = 1,
    temporal: int = 1,
    enlarges: bool = False,
) -> tuple[int, int]:
    """The size nearest to (height, width) whose sides are multiples of `factor` and whose pixels are within a budget.

    Args:
        least, most: The budget, for all `num_frames` frames together.
        temporal: Frames of a patch: their number is rounded to whole patches where the rounded size is compared.
        enlarges: Scale frames up first that are smaller than `factor`, in proportion.

    Raises:
        MediaError: a frame whose one side is more than 200 times the other.
    """
    if enlarges and min(height, width) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) > 200 * min(height, width):
        raise MediaError(
            f"a frame of {height} x {width} pixels is too narrow: its sides may differ by 200 times at most"
        )
    rounded = round(height / factor) * factor, round(width / factor) * factor
    pixels = round(num_frames / temporal) * temporal * rounded[0] * rounded[1]
    if pixels > most:
        shrink = math.sqrt(num_frames * height * width / most)
        return tuple(max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))  # type: ignore[return-value]
    if pixels < least:
        grow = math.sqrt(least / (num_frames * height * width))
        return tuple(math.ceil(side * grow / factor) * factor for side in (height, width))  # type: ignore[return-value]
    return rounded


@cache
def _torch_has_lanczos() -> bool:
    """Whether this torch has the filter; Pillow's differs by a step of 255 in one pixel of a hundred."""
    try:
        F.interpolate(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), (1, 1), mode="lanczos", antialias=True)
    except (NotImplementedError, ValueError, RuntimeError):
        return False
    return True


def _resize_by_pillow(frames: Tensor, height: int, width: int, resample: Image.Resampling) -> Tensor:
    pictures = [Image.fromarray(frame) for frame in frames.permute(0, 2, 3, 1).contiguous().numpy()]
    resized = [np.asarray(picture.resize((width, height), resample)) for picture in pictures]
    return to_channels_first(np.stack(resized))


def resize_short_side(frames: Tensor, short_side: int, resample: int) -> Tensor:
    """Resize (T, C, H, W) so that the short side has `short_side` pixels, the other in proportion, cut to whole pixels."""
    height, width = frames.shape[-2:]
    if height <= width:
        return resize(frames, short_side, int(short_side * width / height), resample)
    return resize(frames, int(short_side * height / width), short_side, resample)


def center_crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Cut the middle of (T, C, H, W); smaller frames are padded with zeros first."""
    above, left = height - frames.shape[-2], width - frames.shape[-1]
    if above > 0 or left > 0:
        above, left = max(0, above), max(0, left)
        frames = F.pad(frames, (left // 2, left - left // 2, above // 2, above - above // 2))
    top, start = (frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2
    return frames[..., top : top + height, start : start + width]


def normalize(frames: Tensor, settings: PixelSettings) -> Tensor:
    """8-bit frames (T, C, H, W) → float32, scaled and normalized in one step."""
    mean, std = (_per_channel(values, settings.scale) for values in (settings.mean, settings.std))
    return frames.to(torch.float32).sub_(mean).div_(std)


def _per_channel(values: Sequence[float], scale: float) -> Tensor:
    return (torch.tensor(values) * (1.0 / scale))[:, None, None]


def patchify(frames: Tensor, patch: int, merge: int, temporal: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Frames (T, C, H, W) → patches (P, C * temporal * patch * patch) in the order of Qwen's vision towers, and the grid.

    Patches that are merged later stand next to each other; the last frame is repeated until the time steps are whole.
    """
    if padding := -len(frames) % temporal:
        frames = torch.cat([frames, frames[-1:].expand(padding, -1, -1, -1)])
    steps, rows, columns = len(frames) // temporal, frames.shape[2] // patch, frames.shape[3] // patch
    split = frames.reshape(
        steps, temporal, frames.shape[1], rows // merge, merge, patch, columns // merge, merge, patch
    )
    ordered = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return ordered.reshape(steps * rows * columns, -1), (steps, rows, columns)
