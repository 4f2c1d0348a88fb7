"""Gemma 4: each frame with its minute and second before it, at most 70 tokens per frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vidweave.errors import MediaError
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily, type_ids
from vidweave.pipelines.vlm.pixels import normalize, resize, to_channels_first

__all__ = ["Gemma4"]


class Gemma4(VlmFamily):
    """Gemma 4; times are whole seconds, written as MM:SS."""

    model_class = "Gemma4ForConditionalGeneration"
    times = "text"
    num_frames = 32
    defaults: ClassVar[Mapping[str, Any]] = {
        "resample": 3,
        "patch_size": 16,
        "max_soft_tokens": 70,
        "pooling_kernel_size": 3,
    }
    video_mark = "<|video|>"
    image_mark = "<|image|>"

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.image_mark = self.special("image_token", self.image_mark)
        self.opening = self.special("boi_token", "<|image>")
        self.closing = self.special("eoi_token", "<image|>")
        numbers = ("patch_size", "max_soft_tokens", "pooling_kernel_size")
        self.patch, self.most, self.kernel = (self.pixels.number(name) for name in numbers)

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        frames = to_channels_first(footage.frames)
        height, width = self._target(frames.shape[2], frames.shape[3])
        patches, places = self._patches(normalize(resize(frames, height, width, self.pixels.resample), self.pixels))
        tokens = (height // self.patch) * (width // self.patch) // self.kernel**2
        times = [(int(t // 60), int(t % 60)) for t in footage.seconds]
        picture = self.opening + self.video_mark * tokens + self.closing
        return MediaBlock(
            " ".join(f"{minutes:02d}:{seconds:02d} {picture}" for minutes, seconds in times),
            {
                "pixel_values_videos": patches,
                "video_position_ids": places,
                "num_frames_per_video": torch.tensor([len(frames)]),
            },
            seconds=tuple(float(60 * minutes + seconds) for minutes, seconds in times),
            height=height,
            width=width,
        )

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """The largest size with the frame's proportions whose pooled patches are within the number of tokens."""
        side = self.kernel * self.patch
        scale = math.sqrt(self.most * side**2 / (height * width))
        target = [math.floor(scale * length / side) * side for length in (height, width)]
        longest = self.most * side
        if not any(target):
            raise MediaError(f"frames of {height} x {width} pixels are too small for this model; give larger ones")
        if not target[0]:
            target = [side, min(width // height * side, longest)]
        elif not target[1]:
            target = [min(height // width * side, longest), side]
        return target[0], target[1]

    def _patches(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (T, 3, H, W) → patches (T, P, values), and column and row of each; padded to the largest number."""
        count, channels, height, width = frames.shape
        rows, columns = height // self.patch, width // self.patch
        split = frames.reshape(count, channels, rows, self.patch, columns, self.patch)
        patches = split.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * columns, -1)
        column, row = torch.arange(columns).repeat(rows), torch.arange(rows).repeat_interleave(columns)
        places = torch.stack([column, row], -1).expand(count, -1, -1)
        padding = self.most * self.kernel**2 - rows * columns
        return F.pad(patches, (0, 0, 0, padding)), F.pad(places, (0, 0, 0, padding), value=-1)

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": type_ids(ids, self.token_id(self.image_mark), self.token_id(self.video_mark))}
