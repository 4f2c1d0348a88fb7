"""Qwen2-VL: pairs of frames as one patch, M-RoPE positions that count patches; no times."""

# Axes: P patches, L tokens of the prompt

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily, repeated, type_ids
from vidweave.pipelines.vlm.pixels import fit_budget, normalize, patchify, resize, to_channels_first

__all__ = ["OPENAI_MEAN", "OPENAI_STD", "Qwen2VL", "rope_positions"]

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class Qwen2VL(VlmFamily):
    """Qwen2-VL, and the base of families that read patches of several frames with M-RoPE positions."""

    model_class = "Qwen2VLForConditionalGeneration"
    image_class = "Qwen2VLImageProcessorPil"
    temporal_patch = 2
    has_budget = True
    reads_stills = True
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768},
        "resample": 3,
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "max_video_tokens": 128_000,
    }
    video_mark = "<|video_pad|>"
    image_mark = "<|image_pad|>"

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        self.image_mark = self.special("image_token", self.image_mark)
        self.patch, self.merge = self.pixels.number("patch_size"), self.pixels.number("merge_size")
        self.temporal = self.pixels.number("temporal_patch_size")

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        patches, grid, most = self.patches(footage, max_pixels)
        tokens = grid[0] * grid[1] * grid[2] // self.merge**2
        return MediaBlock(
            self.video_mark * tokens,
            {"pixel_values_videos": patches, "video_grid_thw": torch.tensor([grid])},
            height=grid[1] * self.patch,
            width=grid[2] * self.patch,
            max_pixels=most,
        )

    def patches(self, footage: Footage, max_pixels: int | None) -> tuple[Tensor, tuple[int, int, int], int]:
        """Resized and normalized patches (P, values), their grid, and the budget that was applied."""
        frames = to_channels_first(repeated(footage, self.temporal).frames)
        settings = self.pixels.with_budget(max_pixels)
        least, most = settings.size["shortest_edge"], settings.size["longest_edge"]
        if max_pixels is not None:
            least = min(least, max_pixels)
        height, width, most = self.target(len(frames), frames.shape[2], frames.shape[3], least, most)
        values = normalize(resize(frames, height, width, settings.resample), settings)
        return *patchify(values, self.patch, self.merge, self.temporal), most

    def target(self, num_frames: int, height: int, width: int, least: int, most: int) -> tuple[int, int, int]:
        """Size of the resized frames, and the budget of pixels per frame that it obeys."""
        factor = self.patch * self.merge
        if self.pixels.more.get("cap_pixels_per_frame"):
            total = int(self.pixels.number("max_video_tokens") * factor**2 * 0.9)
            most = max(min(most, total * self.temporal // num_frames), int(least * 1.05))
        return *fit_budget(height, width, factor=factor, least=least, most=most), most

    def image(self, frame: np.ndarray, max_pixels: int | None = None) -> MediaBlock:
        size: dict[str, Any] = {}
        if max_pixels is not None:
            size = {"size": {"shortest_edge": min(56 * 56, max_pixels), "longest_edge": max_pixels}}
        tensors = self.still(frame, **size)
        _, rows, columns = (int(n) for n in tensors["image_grid_thw"][0])
        return MediaBlock(
            self.image_mark * (rows * columns // self.merge**2),
            {"pixel_values": tensors["pixel_values"], "image_grid_thw": tensors["image_grid_thw"]},
            height=rows * self.patch,
            width=columns * self.patch,
            max_pixels=max_pixels,
        )

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": type_ids(ids, self.token_id(self.image_mark), self.token_id(self.video_mark))}

    def positions(self, model: Any, inputs: Mapping[str, Tensor], blocks: Sequence[MediaBlock]) -> Tensor | None:
        return rope_positions(model, inputs)


def rope_positions(model: Any, inputs: Mapping[str, Tensor], **more: Any) -> Tensor:
    """Position ids (4, 1, L) as `generate` of these models makes them: of the text, then time, height and width."""
    names = ("mm_token_type_ids", "image_grid_thw", "video_grid_thw", "attention_mask")
    given = {name: inputs[name] for name in names if name in inputs}
    ids = inputs["input_ids"]
    places, _ = model.model.get_rope_index(ids, **given, **more)
    return torch.cat([torch.arange(ids.shape[1], device=ids.device).expand(1, 1, -1), places])
