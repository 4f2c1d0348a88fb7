"""Depth of every picture of a clip, by a depth estimator of transformers."""

# Axes: T pictures, H height, W width

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
"""Name → hub id; a folder or any hub id of the same two architectures works too."""
DEPTH_MODELS.register("zoedepth", "Intel/zoedepth-nyu-kitti", summary="metres, indoors and streets; CREMA's choice")
DEPTH_MODELS.register(
    "depth-anything-indoor", "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf", summary="metres up to 20"
)
DEPTH_MODELS.register(
    "depth-anything-outdoor", "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf", summary="metres up to 80"
)
DEPTH_MODELS.register(
    "depth-anything", "depth-anything/Depth-Anything-V2-Small-hf", summary="nearness without a scale, not metres"
)

# model_type → side of the picture that the short side is brought to comes from the backbone; sizes are multiples of this
_FAMILIES = {
    "zoedepth": (32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "depth_anything": (14, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class DepthEstimator:
    """A frozen depth estimator.

    Args:
        name: A name of DEPTH_MODELS, a folder that transformers wrote, or a hub id.
        device: Where to compute.

    Attributes:
        unit: `metres`, or `nearness`: what relative models tell, larger is nearer, without scale and zero.

    Raises:
        CheckpointError: nothing can be read there, or it is no depth estimator of an architecture that is known.
    """

    def __init__(self, name: str, *, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModelForDepthEstimation

        self.name = name
        self._device = usable_device(device)
        source = DEPTH_MODELS.get(name) if name in DEPTH_MODELS else name
        try:
            how = guard_source(source)
            with quiet_loading():
                model: Any = AutoModelForDepthEstimation.from_pretrained(source, use_safetensors=True, **how)
        except (CheckpointError, OSError, ValueError) as error:
            known = ", ".join(DEPTH_MODELS)
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"no depth model at {source!r} ({reason}); known names: {known}") from error
        kind = model.config.model_type
        if kind not in _FAMILIES:
            raise CheckpointError(f"{source!r} is a {kind!r}; depth models that are known: {', '.join(_FAMILIES)}")
        self._multiple, self._mean, self._std = _FAMILIES[kind]
        self._side = int(model.config.backbone_config.image_size)
        is_relative = getattr(model.config, "depth_estimation_type", "metric") == "relative"
        self.unit = "nearness" if is_relative else "metres"
        self._model: nn.Module = model.eval().to(self._device)

    @torch.no_grad()
    def __call__(self, pictures: Frames) -> np.ndarray:
        """(T, H, W, 3) uint8 → (T, H, W, 1) float32 in `unit`."""
        height, width = pictures.values.shape[1:3]
        pixels, _ = apply(self._spec(height, width), pictures)
        depth: Tensor = self._model(pixel_values=pixels.to(self._device)).predicted_depth[:, None]
        depth = functional.interpolate(depth.float(), (height, width), mode="bilinear", align_corners=False)
        return depth[:, 0, ..., None].cpu().numpy()

    def _spec(self, height: int, width: int) -> VisualSpec:
        """The shape kept, the short side at the size that the model was trained on, both sides multiples of its patches."""
        scale = self._side / min(height, width)
        rows, columns = (max(1, round(side * scale / self._multiple)) * self._multiple for side in (height, width))
        return VisualSpec(height=rows, width=columns, mean=self._mean, std=self._std)


@dataclass(frozen=True, kw_only=True)
class DepthJob:
    """`NAME.npy` (T, H, W, 1) float32 with times beside it, per clip.

    Attributes:
        estimator: Makes it.
        fps: Pictures per second; None is every picture.
        chunk: Pictures at a time.
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
