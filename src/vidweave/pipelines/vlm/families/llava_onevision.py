"""LLaVA-OneVision: frames pooled 2 x 2, one run of tokens per clip and a newline; no times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from vidweave.pipelines.vlm.families.qwen2_vl import OPENAI_MEAN, OPENAI_STD
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily

__all__ = ["LlavaOnevision"]


class LlavaOnevision(VlmFamily):
    """LLaVA-OneVision, whose language model sees the order of frames and nothing of their times."""

    model_class = "LlavaOnevisionForConditionalGeneration"
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"height": 384, "width": 384},
        "resample": 3,
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
    }

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        vision = files.config.vision_config
        self.side = vision.image_size // vision.patch_size

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        values = self.fixed_size(footage.frames)
        tokens = len(values) * math.ceil(self.side / 2) ** 2 + 1
        return MediaBlock(
            self.video_mark * tokens,
            {"pixel_values_videos": values[None]},
            height=values.shape[-2],
            width=values.shape[-1],
        )
