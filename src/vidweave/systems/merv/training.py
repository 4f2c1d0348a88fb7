"""Hyperparameters of MERV's training (spec 3.1, 3.2): trainable parameters and settings per stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidweave.errors import ConfigError

__all__ = ["ALIGN", "FINETUNE", "FULL_ALIGN", "TRAINABLE", "StageName", "StageSettings"]

StageName = Literal["align", "full-align", "finetune"]
# Stage → patterns of the trainable parameters. Encoders are always frozen. In the original a stage's checkpoint has the same.
TRAINABLE: dict[StageName, tuple[str, ...]] = {
    "align": ("connector.*",),
    "full-align": ("connector.*", "language_model.*"),
    "finetune": ("connector.*", "language_model.*"),
}


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """Hyperparameters of one stage.

    Attributes:
        epochs: Passes over the data; with `batch_size` they give the steps.
        steps: Overrides the epochs unless 0.
        batch_size: Conversations per step over all devices and micro-batches.
        accumulate: Micro-batches per step.
        warmup_ratio: Share of the steps in which the rate rises from 0.
        weight_decay: Not applied to biases and one-dimensional parameters.
        max_tokens: Maximum length of a text.
    """

    lr: float
    batch_size: int
    weight_decay: float = 0.0
    epochs: int = 1
    steps: int = 0
    accumulate: int = 1
    warmup_ratio: float = 0.03
    clip_norm: float = 1.0
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 0 or not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"a stage needs epochs >= 1, steps >= 0 and a warmup_ratio within 0..1, got {self}")

    def num_steps(self, examples: int) -> int:
        """Number of steps of the stage, for `examples` examples."""
        return self.steps or -(-examples // self.batch_size) * self.epochs


ALIGN = StageSettings(lr=1e-3, batch_size=256)
FULL_ALIGN = StageSettings(lr=1e-4, batch_size=256)
FINETUNE = StageSettings(lr=2e-5, batch_size=128, weight_decay=0.1)
