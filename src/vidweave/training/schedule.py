"""Learning-rate schedules, set step by step."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from vidweave.errors import ConfigError

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Factor of the learning rate: a linear warm-up times a decay over the whole stage.

    Attributes:
        kind: `cosine` decays to `min_lr_ratio` at the end of the stage; `constant` does not decay. `warmup_cosine`
            begins at 0 and decays after the warm-up, like transformers' cosine schedule. `epochs` is LAVIS': epoch 0
            rises linearly from `start_ratio` (cut off at its end), and every later epoch has a constant rate on the
            cosine.
        warmup_steps: Steps until the full rate; the first step has 1/warmup_steps of it (`epochs`: `start_ratio`).
        min_lr_ratio: Rate at the end over the full rate, 0..1.
        num_epochs, steps_per_epoch, start_ratio: Settings of `epochs`.
    """

    kind: Literal["cosine", "constant", "warmup_cosine", "epochs"]
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr_ratio: float = 0.0
    num_epochs: int = 1
    steps_per_epoch: int = 0
    start_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "constant", "warmup_cosine", "epochs"):
            raise ConfigError(f"a schedule is 'cosine', 'constant', 'warmup_cosine' or 'epochs', got {self.kind!r}")
        if self.kind == "epochs" and (
            self.steps_per_epoch < 1 or self.num_epochs < 1 or not 0 <= self.start_ratio <= 1
        ):
            raise ConfigError(f"a schedule by epochs needs num_epochs, steps_per_epoch and a start_ratio, got {self}")
        if self.warmup_steps < 0 or not 0 <= self.min_lr_ratio <= 1:
            raise ConfigError(f"warmup_steps must be at least 0 and min_lr_ratio within 0..1, got {self}")

    def factor(self, step: int, progress: float) -> float:
        """Return the factor of `step` (from 0) at `progress` (0..1) of the stage, in steps or in time."""
        if self.kind == "epochs":
            return self._by_epoch(step)
        begun = step + (self.kind != "warmup_cosine")
        warm = min(1.0, begun / self.warmup_steps) if self.warmup_steps else min(1.0, begun)
        if self.kind == "constant" or (self.kind == "warmup_cosine" and step <= self.warmup_steps):
            return warm
        if self.kind == "warmup_cosine":
            warming = progress * self.warmup_steps / step  # the share of the warm-up in the stage
            progress = (progress - warming) / (1 - warming) if warming < 1 else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return warm * (self.min_lr_ratio + (1 - self.min_lr_ratio) * fall)

    def _by_epoch(self, step: int) -> float:
        epoch = step // self.steps_per_epoch
        if epoch == 0:
            risen = step / max(self.warmup_steps, 1)
            return min(1.0, self.start_ratio + (1 - self.start_ratio) * risen)
        fall = 0.5 * (1 + math.cos(math.pi * epoch / self.num_epochs))
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * fall
