"""InternVL: each frame one image with its number before it; no times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vidweave.errors import CheckpointError
from vidweave.pipelines.vlm.families.qwen2_vl import OPENAI_MEAN, OPENAI_STD
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily

__all__ = ["InternVL"]


class InternVL(VlmFamily):
    """InternVL 3 and 3.5 as transformers writes them (`…-hf`)."""

    model_class = "InternVLForConditionalGeneration"
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"height": 384, "width": 384},
        "resample": 3,
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
    }

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        self.image_mark = self.special("context_image_token", "<IMG_CONTEXT>")
        self.opening = self.special("start_image_token", "<img>")
        self.closing = self.special("end_image_token", "</img>")
        tokens = files.processor.get("image_seq_length", files.config.image_seq_length)
        if not isinstance(tokens, int) or tokens < 1:
            raise CheckpointError(f"image_seq_length of {files.folder} must be a positive number, got {tokens!r}")
        self.tokens = tokens

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        values = self.fixed_size(footage.frames)
        picture = self.opening + self.image_mark * self.tokens + self.closing
        return MediaBlock(
            "\n".join(f"Frame{number}: {picture}" for number in range(1, len(values) + 1)),
            {"pixel_values": values},
            height=values.shape[-2],
            width=values.shape[-1],
        )
