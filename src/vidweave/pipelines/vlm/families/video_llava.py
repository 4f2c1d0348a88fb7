"""Video-LLaVA and LLaVA-NeXT-Video: one run of tokens per clip; no times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vidweave.pipelines.vlm.families.qwen2_vl import OPENAI_MEAN, OPENAI_STD
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily

__all__ = ["LlavaNextVideo", "VideoLlava"]


class VideoLlava(VlmFamily):
    """Video-LLaVA: all patches of each frame, and its CLS token."""

    model_class = "VideoLlavaForConditionalGeneration"
    num_frames = 8
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "resample": 3,
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
    }
    template = (
        "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<{{ part['type'] }}>\n{% endif %}{% endfor %}"
        "{{ ' ' if message['role'] == 'user' else '</s>' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        self.image_mark = self.special("image_token", self.image_mark)
        self.patch = files.config.vision_config.patch_size

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        values = self.fixed_size(footage.frames)
        height, width = values.shape[-2:]
        tokens = self.tokens_per_frame(height // self.patch, width // self.patch)
        return MediaBlock(
            self.video_mark * (tokens * len(values)),
            {"pixel_values_videos": values[None]},
            height=height,
            width=width,
        )

    def tokens_per_frame(self, rows: int, columns: int) -> int:
        """Visual tokens of a frame with so many patches."""
        extra = self.files.processor.get("num_additional_image_tokens", 1)
        return rows * columns + (extra if isinstance(extra, int) else 1)


class LlavaNextVideo(VideoLlava):
    """LLaVA-NeXT-Video: frames pooled 2 x 2, without the CLS token."""

    model_class = "LlavaNextVideoForConditionalGeneration"

    def tokens_per_frame(self, rows: int, columns: int) -> int:
        return rows * columns // 4
