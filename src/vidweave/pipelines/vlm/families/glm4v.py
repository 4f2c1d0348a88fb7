"""GLM-4.1V, GLM-4.5V and GLM-4.6V: pairs of frames as one patch, each with its time as text behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vidweave.pipelines.vlm.families.qwen2_vl import Qwen2VL
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily, repeated, step_seconds
from vidweave.pipelines.vlm.pixels import fit_budget

__all__ = ["Glm4V", "Glm4VMoe", "Glm46V"]


class Glm46V(Qwen2VL):
    """GLM-4.6V: the time of a patch's first frame, to a tenth of a second; the budget is for a whole video."""

    model_class = "Glm46VForConditionalGeneration"
    times = "text"
    reads_stills = False  # videos and stills have the same token, which the model cannot tell apart in one prompt
    defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2VL.defaults,
        "size": {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 30_000},
    }
    video_mark = "<|video|>"
    image_mark = "<|image|>"

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.opening, self.closing = "<|begin_of_image|>", "<|end_of_image|>"

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        patches, grid, most = self.patches(footage, max_pixels)
        first = step_seconds(repeated(footage, self.temporal).seconds, self.temporal)[:, 0]
        step = self.opening + self.image_mark * (grid[1] * grid[2] // self.merge**2) + self.closing
        return MediaBlock(
            "".join(step + self.written(float(t)) for t in first),
            {"pixel_values_videos": patches, "video_grid_thw": torch.tensor([grid])},
            seconds=tuple(self.rounded(float(t)) for t in first),
            height=grid[1] * self.patch,
            width=grid[2] * self.patch,
            max_pixels=most,
        )

    def written(self, seconds: float) -> str:
        """A time as text."""
        return f"{seconds:.1f} seconds"

    def rounded(self, seconds: float) -> float:
        """A time as the text says it."""
        return round(seconds, 1)

    def target(self, num_frames: int, height: int, width: int, least: int, most: int) -> tuple[int, int, int]:
        factor = self.patch * self.merge
        counts = {"num_frames": num_frames, "temporal": self.temporal}
        return *fit_budget(height, width, factor=factor, least=least, most=most, enlarges=True, **counts), most

    def image(self, frame: np.ndarray, max_pixels: int | None = None) -> MediaBlock:
        return VlmFamily.image(self, frame, max_pixels)

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": torch.where(ids == self.token_id(self.image_mark), 2, 0)}


class Glm4V(Glm46V):
    """GLM-4.1V, which reads whole seconds."""

    model_class = "Glm4vForConditionalGeneration"

    def written(self, seconds: float) -> str:
        return f"{int(seconds)}"

    def rounded(self, seconds: float) -> float:
        return float(int(seconds))


class Glm4VMoe(Glm4V):
    """GLM-4.5V, with a mixture of experts."""

    model_class = "Glm4vMoeForConditionalGeneration"
