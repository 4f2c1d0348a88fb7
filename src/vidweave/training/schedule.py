"""Learning-rate schedules, set step by step."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from vidweave.errors import ConfigError

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The factor on the learning rate: a linear warm-up times the falling curve over the whole stage.

    Attributes:
        kind: `cosine` falls to `min_lr_ratio` at the end of the stage; `constant` stays. `warmup_cosine` begins at 0 and
            falls from the end of the warm-up on, as transformers' cosine schedule does.
        warmup_steps: Steps until the full rate; the first step has 1/warmup_steps of it.
        min_lr_ratio: Rate at the end over the full rate, 0..1.
    """

    kind: Literal["cosine", "constant", "warmup_cosine"]
    _: KW_ONLY
    warmup_steps: int = 0
    min_lr_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "constant", "warmup_cosine"):
            raise ConfigError(f"a schedule is 'cosine', 'constant' or 'warmup_cosine', got {self.kind!r}")
        if self.warmup_steps < 0 or not 0 <= self.min_lr_ratio <= 1:
            raise ConfigError(f"warmup_steps must be at least 0 and min_lr_ratio within 0..1, got {self}")

    def factor(self, step: int, progress: float) -> float:
        """The factor of `step` (from 0) when `progress` (0..1) of the stage is done, in steps or in time."""
        begun = step + (self.kind != "warmup_cosine")
        warm = min(1.0, begun / self.warmup_steps) if self.warmup_steps else min(1.0, begun)
        if self.kind == "constant" or (self.kind == "warmup_cosine" and step <= self.warmup_steps):
            return warm
        if self.kind == "warmup_cosine":
            warming = progress * self.warmup_steps / step  # the share of the stage that the warm-up took
            progress = (progress - warming) / (1 - warming) if warming < 1 else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return warm * (self.min_lr_ratio + (1 - self.min_lr_ratio) * fall)
