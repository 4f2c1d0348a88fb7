"""Dense labels for training a connector: each quarter of the frame has a token that encodes its content.

Answers supervise a connector one word at a time, through a language model that cannot use its tokens yet. These labels
train it directly to find objects and keep their attributes, as dense labels train an encoder.
"""

# Axes: B clips, K quarters

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.tiny.scenes import QUARTERS, SLOT_CLASSES
from vidweave.types import Blocks, MeanOver

__all__ = ["QuarterLabels", "collate_quarters", "quarter_heads"]


def quarter_heads(width: int) -> nn.ModuleDict:
    """Build linear probes of the connector's tokens, discarded after training."""
    return nn.ModuleDict({name: nn.Linear(width, len(classes)) for name, classes in SLOT_CLASSES.items()})


def collate_quarters(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Stack labels per clip: name → (B, K), -100 where there is none."""
    return {name: torch.tensor([row[name] for row in rows]) for name in SLOT_CLASSES}


@dataclass(frozen=True)
class QuarterLabels:
    """Loss of the first tokens of `block`, one per quarter, predicting the object there; `parts` are losses, `right` is
    the mean accuracy."""

    block: str = "video"

    def means(self, labels: dict[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {name: MeanOver(int((target != -100).sum())) for name, target in labels.items()}

    def __call__(self, root: Any, blocks: dict[str, Blocks], labels: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens = blocks[self.block].values[:, 0, :QUARTERS]
        parts, right = {}, []
        for name, target in labels.items():
            logits = root.quarter_heads[name](tokens).flatten(0, 1)
            parts[name] = functional.cross_entropy(logits, target.flatten(), ignore_index=-100)
            labeled = target.flatten() >= 0
            right.append((logits.argmax(-1) == target.flatten())[labeled].float().mean())
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, "right": torch.stack(right).mean()}
