"""Dense labels for training an encoder: predict the content of each patch."""

# Axes: B frames, G patches of a frame, C encoder width

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.media.preprocess import apply
from vidweave.tiny.scenes import LABEL_CLASSES, NOTHING, FrameExample
from vidweave.types import Frames, MeanOver, VisualSpec

__all__ = ["DenseLabels", "collate_frames", "dense_heads"]


def dense_heads(width: int) -> nn.ModuleDict:
    """Build linear probes of an encoder's tokens, discarded after training."""
    sizes = {"presence": 1, "offset": 2, "place": 2, **{name: len(classes) for name, classes in LABEL_CLASSES.items()}}
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


def collate_frames(spec: VisualSpec, examples: list[FrameExample]) -> dict[str, Tensor]:
    """Stack pixels (B, 1, 1, 3, H, W) preprocessed by `spec`, and labels (B, G, ...) of all frames."""
    frames = np.concatenate([example.frames for example in examples])
    pixels, _ = apply(spec, Frames.from_array(frames, fps=1))
    labels = {name: torch.from_numpy(np.concatenate([e.labels[name] for e in examples])) for name in examples[0].labels}
    return {"pixels": pixels[:, None, None], **labels}


@dataclass(frozen=True)
class DenseLabels:
    """Loss of predicting every patch's labels from the encoder's tokens.

    Besides the attributes of an object, a token encodes the position of its center: relative to the patch (`offset`) and in
    the frame (`place`; for an empty patch, its own center). Without the latter, tokens soon forget their position, and no
    later layer can tell left from right.

    `attributes` are the classes that the encoder is trained on; `noise` perturbs brightness, tint and grain, so that the
    encoder is robust to video compression.
    """

    encoder: str
    attributes: tuple[str, ...] = ("shape", "colour", "size")
    noise: float = 0.06

    def __call__(self, root: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        pixels = self._augment(batch["pixels"]) if root.training else batch["pixels"]
        tokens = root.model.encoders[self.encoder].encode(pixels, "video")[:, 0]
        there = batch["presence"]
        parts = {
            "presence": functional.binary_cross_entropy_with_logits(
                root.heads["presence"](tokens)[..., 0], there.float()
            ),
            "offset": 2
            * functional.smooth_l1_loss(root.heads["offset"](tokens)[there], batch["offset"][there], beta=0.1),
        }
        place = _middles(batch["offset"].shape[1]).to(tokens) + batch["offset"]
        parts["place"] = functional.smooth_l1_loss(root.heads["place"](tokens), place, beta=0.1)
        for name in self.attributes:
            logits, labels = root.heads[name](tokens).flatten(0, 1), batch[name].flatten()
            parts[name] = functional.cross_entropy(logits, labels, ignore_index=NOTHING)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def means(self, batch: dict[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        patches, objects = batch["presence"].numel(), int(batch["presence"].sum())
        labels = {name: MeanOver(int((batch[name] != NOTHING).sum())) for name in self.attributes}
        return {"presence": MeanOver(patches), "offset": MeanOver(objects), "place": MeanOver(patches), **labels}

    def _augment(self, pixels: Tensor) -> Tensor:
        size = (len(pixels), 1, 1)
        brightness, tint = torch.randn(*size, 1, 1, 1), torch.randn(*size, 3, 1, 1) / 2
        contrast = 1 + self.noise * torch.randn(*size, 1, 1, 1)
        grain = torch.rand(*size, 1, 1, 1) * torch.randn_like(pixels)
        return pixels * contrast + self.noise * (brightness + tint + grain)


def _middles(patches: int) -> Tensor:
    """Center (G, 2) of each patch of a square grid, (x, y) in patches from the center of the frame."""
    side = math.isqrt(patches)
    steps = torch.arange(side) + 0.5 - side / 2
    return torch.cartesian_prod(steps, steps).flip(-1)
