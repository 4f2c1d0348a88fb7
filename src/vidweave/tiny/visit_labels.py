"""Training a connector on dense labels of a long clip: what came when, and how often."""

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
    """Linear readers of the connector's tokens, thrown away after training."""
    return nn.ModuleDict({name: nn.Linear(width, classes) for name, (classes, _) in VISIT_LABELS.items()})


def collate_visits(rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """Labels per clip → name → (B, tokens that tell it)."""
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class VisitLabels:
    """Every label is read from its tokens of `block`; the loss is the sum over labels, by `weights` (1 if not named)."""

    block: str = "video"
    weights: Mapping[str, float] = field(default_factory=lambda: {"shape of ordinal": 0.5, "answer": 2.0})

    def means(self, labels: Mapping[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {
            name.replace(" ", "_"): MeanOver(int((truth != -100).sum()), self.weights.get(name, 1.0))
            for name, truth in labels.items()
        }

    def __call__(self, root: Any, blocks: dict[str, Blocks], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tokens, parts = blocks[self.block].values[:, 0], {}
        for name, truth in labels.items():
            start, end = VISIT_LABELS[name][1]
            logits = root.visit_heads[name](tokens[:, start:end]).flatten(0, 1)
            parts[name] = functional.cross_entropy(logits.float(), truth.flatten(), ignore_index=-100)
        loss = torch.stack([self.weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name.replace(" ", "_"): part for name, part in parts.items()}}
