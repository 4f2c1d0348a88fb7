"""Token labels for training an encoder: predict the attributes and motion of the object that covers each token.

Positions are labeled as quarters: with distances as further labels (as in `patch_labels`), fine patterns took longer.
"""

# Axes: B clips, T segments, W frames of a segment, N tokens of all segments of a clip, C encoder width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.media.preprocess import apply
from vidweave.tiny.scenes import NOTHING
from vidweave.tiny.token_classes import TOKEN_CLASSES, TokenExample
from vidweave.types import Frames, MeanOver, VisualSpec

__all__ = ["TokenLabels", "collate_tokens", "read_tokens", "right_labels", "token_heads"]


def token_heads(width: int, names: Sequence[str]) -> nn.ModuleDict:
    """Build linear probes of an encoder's tokens, discarded after training."""
    sizes = {"presence": 1, **{name: len(TOKEN_CLASSES[name]) for name in names}}
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


def collate_tokens(spec: VisualSpec, window: int, examples: Sequence[TokenExample]) -> dict[str, Tensor]:
    """Stack pixels (B, T, W, 3, H, W) in windows of `window` frames, preprocessed by `spec`, and labels (B, N)."""
    frames = np.concatenate([example.frames for example in examples])
    pixels, _ = apply(spec, Frames.from_array(frames, fps=1))
    labels = {n: torch.from_numpy(np.stack([e.labels[n] for e in examples])) for n in examples[0].labels}
    return {"pixels": pixels.unflatten(0, (len(examples), -1, window)), **labels}


def read_tokens(root: Any, encoder: str, pixels: Tensor) -> Tensor:
    """Encode the tokens (B, N, C) of all segments of a clip."""
    return root.model.encoders[encoder].encode(pixels, "video").flatten(1, 2)


@dataclass(frozen=True)
class TokenLabels:
    """Loss of predicting from each token the presence of an object, and its labels.

    `weights` gives the weight of each name of TOKEN_CLASSES. `noise` perturbs the tint of a clip and the grain of its
    frames, so that the encoder is robust to video compression.
    """

    encoder: str
    weights: Mapping[str, float]
    noise: float = 0.06

    def __call__(self, root: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens = read_tokens(root, self.encoder, self._augment(batch["pixels"]) if root.training else batch["pixels"])
        there = root.heads["presence"](tokens)[..., 0]
        parts = {"presence": functional.binary_cross_entropy_with_logits(there, batch["presence"].float())}
        for name, weight in self.weights.items():
            logits, labels = root.heads[name](tokens).flatten(0, 1), batch[name].flatten()
            parts[name] = weight * functional.cross_entropy(logits, labels, ignore_index=NOTHING)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def means(self, batch: dict[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        labels = {name: MeanOver(int((batch[name] != NOTHING).sum())) for name in self.weights}
        return {"presence": MeanOver(batch["presence"].numel()), **labels}

    def _augment(self, pixels: Tensor) -> Tensor:
        tint = torch.randn(len(pixels), 1, 1, 3, 1, 1)
        return pixels + self.noise * (tint + 0.3 * torch.randn_like(pixels))


@torch.no_grad()
def right_labels(root: Any, encoder: str, batch: dict[str, Tensor], names: Sequence[str]) -> dict[str, float]:
    """Accuracy per label name, over the labeled tokens."""
    tokens, shares = read_tokens(root, encoder, batch["pixels"]), {}
    for name in names:
        labeled = batch[name] != NOTHING
        shares[name] = float((root.heads[name](tokens).argmax(-1) == batch[name])[labeled].float().mean())
    return shares
