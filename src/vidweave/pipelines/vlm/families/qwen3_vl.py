"""Qwen3-VL and Qwen3.5: pairs of frames as one patch, each with its time as text before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from vidweave.pipelines.vlm.families.qwen2_vl import Qwen2VL
from vidweave.pipelines.vlm.family import Footage, MediaBlock, repeated, step_seconds
from vidweave.pipelines.vlm.pixels import fit_budget

__all__ = ["Qwen35", "Qwen35Moe", "Qwen3VL", "Qwen3VLMoe"]


class Qwen3VL(Qwen2VL):
    """Qwen3-VL: `<t seconds>` before each patch, the mean of its frames' times; the budget is for a whole video."""

    model_class = "Qwen3VLForConditionalGeneration"
    times = "text"
    defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2VL.defaults,
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768},
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
        "patch_size": 16,
        "max_video_tokens": 768,
    }

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        patches, grid, most = self.patches(footage, max_pixels)
        times = step_seconds(repeated(footage, self.temporal).seconds, self.temporal)
        means = (times[:, 0] + times[:, -1]) / 2
        opening = self.special("vision_start_token", "<|vision_start|>")
        closing = self.special("vision_end_token", "<|vision_end|>")
        step = opening + self.video_mark * (grid[1] * grid[2] // self.merge**2) + closing
        return MediaBlock(
            "".join(f"<{t:.1f} seconds>{step}" for t in means),
            {"pixel_values_videos": patches, "video_grid_thw": torch.tensor([grid])},
            seconds=tuple(round(float(t), 1) for t in means),
            height=grid[1] * self.patch,
            width=grid[2] * self.patch,
            max_pixels=most,
        )

    def target(self, num_frames: int, height: int, width: int, least: int, most: int) -> tuple[int, int, int]:
        factor = self.patch * self.merge
        if self.pixels.more.get("cap_pixels_per_frame"):
            cap = self.pixels.number("max_video_tokens") * factor**2
            most = num_frames * max(min(cap, most // num_frames), int(least * 1.05))
        counts = {"num_frames": num_frames, "temporal": self.temporal}
        return *fit_budget(height, width, factor=factor, least=least, most=most, enlarges=True, **counts), most


class Qwen3VLMoe(Qwen3VL):
    """Qwen3-VL with a mixture of experts."""

    model_class = "Qwen3VLMoeForConditionalGeneration"


class Qwen35(Qwen3VL):
    """Qwen3.5, whose video goes in as in Qwen3-VL."""

    model_class = "Qwen3_5ForConditionalGeneration"


class Qwen35Moe(Qwen3VL):
    """Qwen3.5 with a mixture of experts."""

    model_class = "Qwen3_5MoeForConditionalGeneration"
