"""Estimate depth for every frame of a clip with a transformers depth estimator."""

# Axes: T frames, H height, W width

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.derive.arrays import growing_array
from vidweave.derive.frames import chosen_frames, source_report
from vidweave.errors import CheckpointError, ConfigError
from vidweave.loading import quiet_loading, usable_device
from vidweave.media.open import open_source
from vidweave.media.preprocess import apply
from vidweave.nn.config_source import guard_source
from vidweave.registry import Registry
from vidweave.types import Frames, VisualSpec

__all__ = ["DEPTH_MODELS", "DepthEstimator", "DepthJob"]

DEPTH_MODELS = Registry("depth model")
"""Name → hub id; a folder or any hub id of the same two architectures also works."""
DEPTH_MODELS.register("zoedepth", "Intel/zoedepth-nyu-kitti", summary="meters, indoors and streets; used by CREMA")
DEPTH_MODELS.register(
    "depth-anything-indoor", "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf", summary="meters up to 20"
)
DEPTH_MODELS.register(
    "depth-anything-outdoor", "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf", summary="meters up to 80"
)
DEPTH_MODELS.register(
    "depth-anything", "depth-anything/Depth-Anything-V2-Small-hf", summary="nearness without a scale, not meters"
)

# model_type → (multiple of image sizes, mean, std); the size of the short side comes from the backbone's configuration
_ARCHITECTURES = {
    "zoedepth": (32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "depth_anything": (14, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class DepthEstimator:
    """Frozen depth estimator.

    Args:
        name: A name of DEPTH_MODELS, a folder written by transformers, or a hub id.
        device: Device of the model.

    Attributes:
        unit: `metres`, or `nearness` for relative models: larger is nearer, without scale or zero point.

    Raises:
        CheckpointError: the model cannot be read, or is not a depth estimator of a supported architecture.
    """

    def __init__(self, name: str, *, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModelForDepthEstimation

        self.name = name
        self._device = usable_device(device)
        source = DEPTH_MODELS.get(name) if name in DEPTH_MODELS else name
        try:
            options = guard_source(source)
            with quiet_loading():
                model: Any = AutoModelForDepthEstimation.from_pretrained(source, use_safetensors=True, **options)
        except (CheckpointError, OSError, ValueError) as error:
            known = ", ".join(DEPTH_MODELS)
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"no depth model at {source!r} ({reason}); known names: {known}") from error
        kind = model.config.model_type
        if kind not in _ARCHITECTURES:
            raise CheckpointError(f"{source!r} is a {kind!r}; supported depth models: {', '.join(_ARCHITECTURES)}")
        self._multiple, self._mean, self._std = _ARCHITECTURES[kind]
        self._side = int(model.config.backbone_config.image_size)
        is_relative = getattr(model.config, "depth_estimation_type", "metric") == "relative"
        self.unit = "nearness" if is_relative else "metres"
        self._model: nn.Module = model.eval().to(self._device)

    @torch.no_grad()
    def __call__(self, frames: Frames) -> np.ndarray:
        """(T, H, W, 3) uint8 → (T, H, W, 1) float32 in `unit`."""
        height, width = frames.values.shape[1:3]
        pixels, _ = apply(self._spec(height, width), frames)
        depth: Tensor = self._model(pixel_values=pixels.to(self._device)).predicted_depth[:, None]
        depth = functional.interpolate(depth.float(), (height, width), mode="bilinear", align_corners=False)
        return depth[:, 0, ..., None].cpu().numpy()

    def _spec(self, height: int, width: int) -> VisualSpec:
        """Keep the aspect ratio, with the short side at the training size and both sides multiples of the patch size."""
        scale = self._side / min(height, width)
        rows, columns = (max(1, round(side * scale / self._multiple)) * self._multiple for side in (height, width))
        return VisualSpec(height=rows, width=columns, mean=self._mean, std=self._std)


@dataclass(frozen=True, kw_only=True)
class DepthJob:
    """Write `NAME.npy` (T, H, W, 1) float32 with its times per clip.

    Attributes:
        estimator: The depth estimator.
        fps: Frames per second; None is every frame.
        chunk: Frames per forward pass.
    """

    estimator: DepthEstimator
    fps: float | None = None
    chunk: int = 4

    def __post_init__(self) -> None:
        if self.chunk < 1 or (self.fps is not None and self.fps <= 0):
            raise ConfigError(f"fps and chunk must be positive, got {self.fps} and {self.chunk}")

    def settings(self) -> dict[str, Any]:
        return {"kind": "depth", "model": self.estimator.name, "unit": self.estimator.unit, "fps": self.fps}

    def run(self, source: Path, name: str, out: Path) -> dict[str, Any]:
        with open_source(source, "video") as opened:
            indices, seconds = chosen_frames(opened, self.fps)
            growing_array(out / f"{name}.npy", self._parts(opened, indices), seconds)
            report = source_report(opened)
        return {"outputs": [f"{name}.npy", f"{name}.npy.json"], "num_frames": len(indices), **report}

    def _parts(self, opened: Any, indices: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(indices), self.chunk):
            yield self.estimator(opened.read_frames(indices[first : first + self.chunk]))
