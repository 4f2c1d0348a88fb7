"""Qwen2.5-VL: as Qwen2-VL, with times as the first of its M-RoPE positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vidweave.pipelines.vlm.families.qwen2_vl import Qwen2VL, rope_positions
from vidweave.pipelines.vlm.family import Footage, MediaBlock, repeated, step_seconds

__all__ = ["Qwen25VL"]


class Qwen25VL(Qwen2VL):
    """Qwen2.5-VL: the position of a patch is its time since the first, in steps of 1 / `tokens_per_second`.

    transformers hands the model one interval per clip, so that chosen frames would be evenly spaced for it; positions
    from the frames' own times equal that for an even clip, and are right for any other.
    """

    model_class = "Qwen2_5_VLForConditionalGeneration"
    times = "positions"

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        block = super().video(footage, max_pixels)
        seconds = step_seconds(repeated(footage, self.temporal).seconds, self.temporal)[:, 0]
        return MediaBlock(
            block.text,
            block.tensors,
            seconds=tuple(seconds.tolist()),
            height=block.height,
            width=block.width,
            max_pixels=block.max_pixels,
        )

    def positions(self, model: Any, inputs: Mapping[str, Tensor], blocks: Sequence[MediaBlock]) -> Tensor | None:
        videos = [block for block in blocks if "video_grid_thw" in block.tensors]
        places = rope_positions(model, inputs, second_per_grid_ts=torch.zeros(len(videos)))
        if not videos:
            return places
        rate = self.files.config.vision_config.tokens_per_second
        places[1, 0, inputs["mm_token_type_ids"][0] == 2] += torch.cat(
            [_offsets(block, rate, self.merge) for block in videos]
        ).to(places.device)
        return places


def _offsets(block: MediaBlock, rate: float, merge: int) -> Tensor:
    """Time steps of each token of a video since its first patch."""
    _, rows, columns = (int(n) for n in block.tensors["video_grid_thw"][0])
    steps = [math.floor((t - block.seconds[0]) * rate + 1e-4) for t in block.seconds]
    return torch.tensor(steps).repeat_interleave(rows * columns // merge**2)
