"""Molmo2: each frame a square image with its time before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vidweave.errors import CheckpointError, ConfigError
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily
from vidweave.pipelines.vlm.pixels import normalize, to_channels_first

__all__ = ["Molmo2"]

PATCH_TOKEN = "<im_patch>"
_IMAGE_TOKENS = (
    PATCH_TOKEN,
    "<im_col>",
    "<im_start>",
    "<low_res_im_start>",
    "<frame_start>",
    "<im_end>",
    "<frame_end>",
    "<im_low>",
)


class Molmo2(VlmFamily):
    """Molmo2; its processors exist only for torchvision, so that frames are prepared here alone."""

    model_class = "Molmo2ForConditionalGeneration"
    times = "text"
    num_frames = 64
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"height": 378, "width": 378},
        "resample": 2,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
        "patch_size": 14,
        "pooling_size": [3, 3],
    }
    video_mark = "<|video|>"
    image_mark = "<|image|>"

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        self.image_mark = self.special("image_token", self.image_mark)
        self.patch = self.pixels.number("patch_size")
        pooling, size = self.pixels.more.get("pooling_size"), self.pixels.size
        if not isinstance(pooling, Sequence) or len(pooling) != 2 or size.get("height") != size.get("width"):
            raise CheckpointError(
                f"{files.folder} needs preprocessing settings with a square size and pooling_size [h, w]"
            )
        self.pooling = int(pooling[0]), int(pooling[1])
        framed = files.processor.get("use_frame_special_tokens", True)
        self.opening, self.closing = ("<frame_start>", "<frame_end>") if framed else ("<im_start>", "<im_end>")
        self.row_end = "<im_col>" if files.processor.get("video_use_col_tokens", False) else ""

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        side = self.pixels.size["height"]
        frames = to_channels_first(footage.frames).float()
        resized = F.interpolate(frames, (side, side), mode="bilinear", align_corners=False).round().clamp(0, 255)
        values = normalize(resized.to(torch.uint8), self.pixels)
        cells = side // self.patch
        split = values.reshape(len(values), 3, cells, self.patch, cells, self.patch)
        patches = split.permute(0, 2, 4, 3, 5, 1).reshape(len(values), cells**2, -1)
        windows, rows, columns = _windows(torch.arange(cells**2).reshape(cells, cells), self.pooling)
        offsets = torch.arange(len(values))[:, None, None] * cells**2
        pooled = torch.where(windows >= 0, windows + offsets, windows).reshape(-1, windows.shape[-1])
        picture = self.opening + (PATCH_TOKEN * columns + self.row_end) * rows + self.closing
        return MediaBlock(
            " ".join(f"{t:.1f} {picture}" for t in footage.seconds),
            {
                "pixel_values_videos": patches,
                "video_token_pooling": pooled,
                "video_grids": torch.tensor([[len(values), rows, columns]]),
            },
            seconds=tuple(round(float(t), 1) for t in footage.seconds),
            height=side,
            width=side,
        )

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        if len(values) > 1:
            raise ConfigError("Molmo2 reads one video per prompt; ask about one scene at a time")
        return values[0]

    def pads(self) -> tuple[str, ...]:
        return (PATCH_TOKEN,)

    def opened(self, text: str) -> str:
        begin = self.files.tokenizer.bos_token or self.files.tokenizer.eos_token or ""
        return text if text.startswith(begin) else begin + text

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        numbers = torch.tensor(self.files.tokenizer.convert_tokens_to_ids(list(_IMAGE_TOKENS)))
        return {"mm_token_type_ids": torch.isin(ids, numbers).long()}


def _windows(grid: Tensor, pooling: tuple[int, int]) -> tuple[Tensor, int, int]:
    """Indices (h, w) → those of each pooling window (rows * columns, window), -1 for padding, and rows and columns."""
    missing = [-length % size for length, size in zip(grid.shape, pooling, strict=True)]
    grid = F.pad(grid, (missing[1] // 2, -(-missing[1] // 2), missing[0] // 2, -(-missing[0] // 2)), value=-1)
    rows, columns = grid.shape[0] // pooling[0], grid.shape[1] // pooling[1]
    split = grid.reshape(rows, pooling[0], columns, pooling[1])
    return split.permute(0, 2, 1, 3).reshape(rows * columns, -1), rows, columns
