"""Training the encoders of several senses at once on dense labels: what does each token hear, feel or see?"""

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
from vidweave.tiny.modalities import SENSE_CLASSES, LabelledSense
from vidweave.tiny.scenes import NOTHING
from vidweave.types import MeanOver, PreprocessSpec

__all__ = ["SenseBatch", "SenseLabels", "collate_senses", "sense_heads"]


@dataclass(frozen=True)
class SenseBatch:
    """What one sense's encoder takes (1, G, …), and labels (G, N) by name."""

    values: Tensor
    labels: dict[str, Tensor]

    def to(self, device: Any) -> SenseBatch:
        return SenseBatch(self.values.to(device), {name: label.to(device) for name, label in self.labels.items()})


def sense_heads(width: int) -> nn.ModuleDict:
    """Linear readers of the encoders' tokens, thrown away after training."""
    return nn.ModuleDict(
        {
            sense: nn.ModuleDict({name: nn.Linear(width, len(classes)) for name, classes in told.items()})
            for sense, told in SENSE_CLASSES.items()
        }
    )


def collate_senses(
    specs: Mapping[str, PreprocessSpec], examples: list[Mapping[str, LabelledSense]]
) -> dict[str, SenseBatch]:
    """Sense → values as its `specs` want them, and labels."""
    batch = {}
    for sense in examples[0]:
        media = [apply(specs[sense], example[sense].media)[0] for example in examples]
        values = torch.cat(media)[None]
        values = values[:, :, None] if values.ndim == 5 else values  # pictures come in windows, of one here
        names = examples[0][sense].labels
        labels = {n: torch.from_numpy(np.concatenate([e[sense].labels[n] for e in examples])) for n in names}
        batch[sense] = SenseBatch(values, labels)
    return batch


@dataclass(frozen=True)
class SenseLabels:
    """Read every token's labels; `encoders` says which encoder of `root.model` a sense goes through.

    Parts are `<sense>`, the loss, and `<sense>/right`, the share of right labels where there is something to tell; the
    loss is the sum of means over labels, `<sense>/<label>`.
    """

    encoders: Mapping[str, str]

    def __call__(self, root: Any, batch: Mapping[str, SenseBatch]) -> dict[str, Tensor]:
        losses, terms, shares = {}, {}, {}
        for sense, told in batch.items():
            tokens = root.model.encoders[self.encoders[sense]].encode(told.values, sense)[0]
            parts, shares[f"{sense}/right"] = _read(root.sense_heads[sense], tokens, told.labels)
            losses[sense] = torch.stack(list(parts.values())).sum()
            terms |= {f"{sense}/{name}": part for name, part in parts.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, **terms, **shares}

    def means(self, batch: Mapping[str, SenseBatch]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {
            f"{sense}/{name}": MeanOver(int((labels != NOTHING).sum()))
            for sense, told in batch.items()
            for name, labels in told.labels.items()
        }


def _read(heads: Any, tokens: Tensor, labels: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Loss of each label, and the share of right ones."""
    losses, right = {}, []
    for name, truth in labels.items():
        logits, truth = heads[name](tokens).flatten(0, 1), truth.flatten()
        losses[name] = functional.cross_entropy(logits, truth, ignore_index=NOTHING)
        right.append((logits.argmax(-1) == truth)[truth != NOTHING].float().mean())
    return losses, torch.stack(right).mean()
