"""VideoLLaMA3: each frame with its time before it; tokens that do not change from frame to frame are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vidweave.pipelines.vlm.families.qwen2_vl import Qwen2VL
from vidweave.pipelines.vlm.family import Footage, MediaBlock, VlmFamily
from vidweave.pipelines.vlm.pixels import fit_budget

__all__ = ["VideoLlama3"]

LEAST_CHANGE = 0.1  # mean difference of normalized pixels, times 255


class VideoLlama3(Qwen2VL):
    """VideoLLaMA3: `Time t.ts:` before each frame; the budget is for a whole video."""

    model_class = "VideoLlama3ForConditionalGeneration"
    times = "text"
    temporal_patch = 1
    reads_stills = False
    defaults: ClassVar[Mapping[str, Any]] = {
        **Qwen2VL.defaults,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
        "temporal_patch_size": 1,
        "use_token_compression": True,
    }

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        patches, grid, most = self.patches(footage, max_pixels)
        kept = torch.ones(grid[0], grid[1] * grid[2] // self.merge**2, dtype=torch.bool)
        if self.pixels.more.get("use_token_compression") and grid[0] > 1:
            kept = _changes(patches.reshape(*kept.shape, -1))
        counts = kept.sum(1).tolist()
        shown = zip(footage.seconds, counts, strict=True)
        return MediaBlock(
            ",".join(f"Time {t:.1f}s:{self.video_mark * count}" for t, count in shown),
            {
                "pixel_values_videos": patches,
                "video_grid_thw": torch.tensor([grid]),
                "video_merge_sizes": torch.tensor([self.merge]),
                "video_compression_mask": kept.flatten(),
            },
            seconds=tuple(round(float(t), 1) for t in footage.seconds),
            height=grid[1] * self.patch,
            width=grid[2] * self.patch,
            max_pixels=most,
        )

    def target(self, num_frames: int, height: int, width: int, least: int, most: int) -> tuple[int, int, int]:
        return *fit_budget(height, width, factor=self.patch * self.merge, least=least, most=most // num_frames), most

    def image(self, frame: np.ndarray, max_pixels: int | None = None) -> MediaBlock:
        return VlmFamily.image(self, frame, max_pixels)

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        return {}

    def positions(self, *_: Any) -> None:
        return None


def _changes(tokens: Tensor) -> Tensor:
    """Values of tokens (T, N, C) → (T, N), True where a token differs from the one before; one per frame at least."""
    apart = (tokens[1:] - tokens[:-1]).abs().mean(-1) * 255 > LEAST_CHANGE
    kept = torch.cat([torch.ones_like(apart[:1]), apart])
    kept[~kept.any(1), 0] = True
    return kept
