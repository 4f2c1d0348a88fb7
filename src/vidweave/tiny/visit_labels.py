"""Dense labels of a long clip for training a connector: order and counts of visits."""

# Axes: B clips, Q query tokens, D language-model width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.tiny.long_clips import VISIT_LABELS
from vidweave.types import Blocks, MeanOver

__all__ = ["VisitLabels", "collate_visits", "visit_heads"]


def visit_heads(width: int) -> nn.ModuleDict:
    """Build linear probes of the connector's tokens, discarded after training."""
    return nn.ModuleDict({name: nn.Linear(width, classes) for name, (classes, _) in VISIT_LABELS.items()})


def collate_visits(rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """Stack labels per clip: name → (B, tokens of the label)."""
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class VisitLabels:
    """Loss of predicting every label from its tokens of `block`, summed over labels with `weights` (default 1)."""

    block: str = "video"
    weights: Mapping[str, float] = field(default_factory=lambda: {"shape of ordinal": 0.5, "answer": 2.0})

    def means(self, labels: Mapping[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {
            name.replace(" ", "_"): MeanOver(int((target != -100).sum()), self.weights.get(name, 1.0))
            for name, target in labels.items()
        }

    def __call__(self, root: Any, blocks: dict[str, Blocks], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tokens, parts = blocks[self.block].values[:, 0], {}
        for name, target in labels.items():
            start, end = VISIT_LABELS[name][1]
            logits = root.visit_heads[name](tokens[:, start:end]).flatten(0, 1)
            parts[name] = functional.cross_entropy(logits.float(), target.flatten(), ignore_index=-100)
        loss = torch.stack([self.weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name.replace(" ", "_"): part for name, part in parts.items()}}
