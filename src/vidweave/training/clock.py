"""Time budgets: durations as people write them, and how much of a budget a stage may use."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from vidweave.errors import ConfigError

__all__ = ["Clock", "parse_duration"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?=.)(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``5m``, ``1h30m`` or ``120`` (seconds).

    Raises:
        ConfigError: the text is no duration, or not positive.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS.values(), strict=True) if n) if match else 0
    if seconds <= 0:
        raise ConfigError(f"{text!r} is no duration; write it like 90s, 5m or 1h30m")
    return seconds


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
        """A stage began at `started` seconds; `shares` are its own and those of the stages after it."""
        self.stage_started = started
        if self.budget_seconds is not None:
            self._stage_seconds = max(0.0, self.budget_seconds - started) * shares[0] / sum(shares)

    def progress(self, step: int, steps: int, elapsed: float) -> float:
        """How much of the stage is done, 0..1: by steps, or by time where that is further."""
        done = step / steps
        if self._stage_seconds is None:
            return done
        if self._stage_seconds <= 0:
            return 1.0
        return min(1.0, max(done, (elapsed - self.stage_started) / self._stage_seconds))

    def schedule_step(self, step: int, steps: int, progress: float) -> int:
        """The step that a schedule stands at: `step`, or where time is further, the step of a whole run that is as far.

        So a warm-up shrinks with its stage, and does not fill a short one.
        """
        return step if self._stage_seconds is None else max(step, int(progress * steps))
