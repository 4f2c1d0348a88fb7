"""Time budgets of stages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vidweave.errors import ConfigError

__all__ = ["Clock"]


class Clock:
    """Training time over all interruptions, and the end of the running stage within the budget."""

    def __init__(self, budget_seconds: float | None, *, elapsed: float = 0.0) -> None:
        if budget_seconds is not None and budget_seconds <= 0:
            raise ConfigError(f"the time budget must be positive, got {budget_seconds} seconds")
        self.budget_seconds = budget_seconds
        self._zero = time.monotonic() - elapsed
        self.stage_started = 0.0
        self._stage_seconds: float | None = None

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._zero

    def begin_stage(self, shares: Sequence[float], started: float) -> None:
        """Start a stage at `started` seconds; `shares` are its own and those of the stages after it."""
        self.stage_started = started
        if self.budget_seconds is not None:
            self._stage_seconds = max(0.0, self.budget_seconds - started) * shares[0] / sum(shares)

    def progress(self, step: int, steps: int, elapsed: float) -> float:
        """Return the progress of the stage, 0..1: by steps, or by time if that is further."""
        done = step / steps
        if self._stage_seconds is None:
            return done
        if self._stage_seconds <= 0:
            return 1.0
        return min(1.0, max(done, (elapsed - self.stage_started) / self._stage_seconds))

    def schedule_step(self, step: int, steps: int, progress: float) -> int:
        """Return the step of a schedule: `step`, or the corresponding step of a whole run if more of the time is used.

        So a warm-up shrinks with its stage instead of filling a short one.
        """
        return step if self._stage_seconds is None else max(step, int(progress * steps))
