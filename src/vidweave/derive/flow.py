"""Write optical flow as arrays and viewable videos, from RAFT or from the codec's motion vectors."""

# Axes: T steps, H height, W width

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidweave.derive.arrays import growing_array
from vidweave.derive.frames import chosen_frames, source_report
from vidweave.encoders.motion import MotionEncoder
from vidweave.errors import ConfigError
from vidweave.media.flow_colours import flow_to_rgb
from vidweave.media.open import OpenSource, open_source
from vidweave.media.preprocess import apply
from vidweave.media.write import write_video
from vidweave.types import Frames, MotionSpec, VisualSpec

__all__ = ["FlowJob"]


@dataclass(frozen=True, kw_only=True)
class FlowJob:
    """Write `NAME.npy` (T, height, width, 2) float32 per clip: flow from each frame to the next.

    Flow points right and down, in pixels of that size; `NAME.npy.json` holds the times of the first frame of each pair. A
    clip of n frames has n - 1 maps (a single frame: one map of zeros).

    Attributes:
        estimator: A motion encoder with RAFT; None uses the motion vectors of the codec, by block.
        name: Name of the estimator in the manifest.
        fps: Frames per second.
        height, width: Size of the maps; RAFT gets frames of this size (bilinear, aspect ignored, as in the paper's tool).
        has_rgb: Also write `NAME_rgb.mp4`: hue is direction, saturation is distance, white is still; each map has its own
            scale (see `media.flow_colours`).
        chunk: Frame pairs per forward pass.
    """

    estimator: MotionEncoder | None
    name: str
    fps: float = 2.0
    height: int = 224
    width: int = 224
    has_rgb: bool = False
    chunk: int = 8

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.chunk < 1 or min(self.height, self.width) < 1:
            raise ConfigError(f"fps, size and chunk must be positive, got {self}")

    def settings(self) -> dict[str, Any]:
        size = {"height": self.height, "width": self.width}
        return {"kind": "flow", "model": self.name, "fps": self.fps, **size, "pictures": self.has_rgb}

    def run(self, source: Path, name: str, out: Path) -> dict[str, Any]:
        with open_source(source, "video") as opened:
            parts, seconds, notes = self._vectors(opened) if self.estimator is None else self._estimated(opened)
            growing_array(out / f"{name}.npy", parts, seconds)
            report = source_report(opened)
        notes = list(dict.fromkeys([*notes, *report.pop("notes", [])]))
        outputs = [f"{name}.npy", f"{name}.npy.json"]
        if self.has_rgb:
            flow = np.load(out / f"{name}.npy", mmap_mode="r")
            rgb = np.concatenate([flow_to_rgb(np.asarray(flow[i : i + 64])) for i in range(0, len(flow), 64)])
            write_video(out / f"{name}_rgb.mp4", Frames(rgb, seconds, np.arange(len(rgb))), fps=self.fps, lossless=True)
            outputs.append(f"{name}_rgb.mp4")
        return {"outputs": outputs, "num_maps": len(seconds), **report, **({"notes": notes} if notes else {})}

    def _vectors(self, opened: OpenSource) -> tuple[Iterator[np.ndarray], np.ndarray, list[str]]:
        spec = MotionSpec(source="motion_vectors", fps=self.fps, height=self.height, width=self.width)
        maps = opened.read_motion(spec)
        return iter([np.ascontiguousarray(maps.values.transpose(0, 2, 3, 1))]), maps.seconds[:, 0], maps.notes

    def _estimated(self, opened: OpenSource) -> tuple[Iterator[np.ndarray], np.ndarray, list[str]]:
        indices, seconds = chosen_frames(opened, self.fps)
        if len(indices) == 1:
            zero = np.zeros((1, self.height, self.width, 2), np.float32)
            return iter([zero]), seconds, ["the clip has one frame, so there is no motion"]
        return self._flows(opened, indices), seconds[:-1], []

    @torch.no_grad()
    def _flows(self, opened: OpenSource, indices: np.ndarray) -> Iterator[np.ndarray]:
        assert self.estimator is not None
        device = next(self.estimator.parameters()).device
        spec = VisualSpec(height=self.height, width=self.width, interpolation="bilinear", rounding="truncate")
        for first in range(0, len(indices) - 1, self.chunk):
            frames, _ = apply(spec, opened.read_frames(indices[first : first + self.chunk + 1]))
            pixels = (frames * 255).round().to(device)
            pairs = torch.stack([pixels[:-1], pixels[1:]], 1)
            yield self.estimator.flow(pairs[None])[0].permute(0, 2, 3, 1).float().cpu().numpy()
