"""Dense labels of several modalities for training their encoders together: predict the labels of each token."""

# Axes: G segments of all clips, N tokens, C encoder width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.media.preprocess import apply
from vidweave.tiny.modalities import MODALITY_CLASSES, ModalityExample
from vidweave.tiny.scenes import NOTHING
from vidweave.types import MeanOver, PreprocessSpec

__all__ = ["ModalityBatch", "ModalityLabels", "collate_modalities", "modality_heads"]


@dataclass(frozen=True)
class ModalityBatch:
    """Input of one modality's encoder (1, G, …), and labels (G, N) by name."""

    values: Tensor
    labels: dict[str, Tensor]

    def to(self, device: Any) -> ModalityBatch:
        return ModalityBatch(self.values.to(device), {name: label.to(device) for name, label in self.labels.items()})


def modality_heads(width: int) -> nn.ModuleDict:
    """Build linear probes of the encoders' tokens, discarded after training."""
    return nn.ModuleDict(
        {
            modality: nn.ModuleDict({name: nn.Linear(width, len(options)) for name, options in classes.items()})
            for modality, classes in MODALITY_CLASSES.items()
        }
    )


def collate_modalities(
    specs: Mapping[str, PreprocessSpec], examples: list[Mapping[str, ModalityExample]]
) -> dict[str, ModalityBatch]:
    """Map each modality to values preprocessed by its entry in `specs`, and labels."""
    batch = {}
    for modality in examples[0]:
        media = [apply(specs[modality], example[modality].media)[0] for example in examples]
        values = torch.cat(media)[None]
        values = values[:, :, None] if values.ndim == 5 else values  # frames come in windows, here of one frame
        names = examples[0][modality].labels
        labels = {n: torch.from_numpy(np.concatenate([e[modality].labels[n] for e in examples])) for n in names}
        batch[modality] = ModalityBatch(values, labels)
    return batch


@dataclass(frozen=True)
class ModalityLabels:
    """Loss of predicting every token's labels; `encoders` maps each modality to its encoder in `root.model`.

    Parts are `<modality>`, the loss, and `<modality>/right`, the accuracy over labeled tokens; the
    loss is the sum of means over labels, `<modality>/<label>`.
    """

    encoders: Mapping[str, str]

    def __call__(self, root: Any, batch: Mapping[str, ModalityBatch]) -> dict[str, Tensor]:
        losses, terms, shares = {}, {}, {}
        for modality, example in batch.items():
            tokens = root.model.encoders[self.encoders[modality]].encode(example.values, modality)[0]
            parts, shares[f"{modality}/right"] = _read(root.modality_heads[modality], tokens, example.labels)
            losses[modality] = torch.stack(list(parts.values())).sum()
            terms |= {f"{modality}/{name}": part for name, part in parts.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, **terms, **shares}

    def means(self, batch: Mapping[str, ModalityBatch]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {
            f"{modality}/{name}": MeanOver(int((labels != NOTHING).sum()))
            for modality, example in batch.items()
            for name, labels in example.labels.items()
        }


def _read(heads: Any, tokens: Tensor, labels: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the loss of each label, and the mean accuracy."""
    losses, right = {}, []
    for name, target in labels.items():
        logits, target = heads[name](tokens).flatten(0, 1), target.flatten()
        losses[name] = functional.cross_entropy(logits, target, ignore_index=NOTHING)
        right.append((logits.argmax(-1) == target)[target != NOTHING].float().mean())
    return losses, torch.stack(right).mean()
