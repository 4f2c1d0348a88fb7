"""Stop training passes whose gradients jump (CREMA, 3.3: modality-adaptive early exit).

Each pass has a gauge: the norm of the gradients of its measured parameters. After an epoch from `min_epoch` on, a pass
whose gauge exceeds `temperature` times its mean over previous epochs ends permanently; the others continue, and its
forward computation does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidweave.errors import ConfigError, TrainingError

__all__ = ["EarlyExit", "ExitState", "has_jumped"]


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """Criterion for the end of a pass of a stage.

    Attributes:
        steps_per_epoch: Number of steps in an epoch of the gauge.
        temperature: Maximum ratio of the gauge to its mean.
        min_epoch: Number of epochs (from 0) in which all passes train.
        statistic: Gauge of an epoch: the mean over its steps, as in the paper, or that of the `last` step, as in the
            released code.
        measured: Patterns of the measured parameters; the adapters in the paper.
    """

    steps_per_epoch: int
    temperature: float = 1.8
    min_epoch: int = 5
    statistic: Literal["epoch_mean", "last"] = "epoch_mean"
    measured: tuple[str, ...] = ("*.adapter.*",)

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1 or self.temperature <= 0 or self.min_epoch < 1:
            raise ConfigError(f"early exit needs steps_per_epoch, temperature and min_epoch above 0, got {self}")
        if self.statistic not in ("epoch_mean", "last"):
            raise ConfigError(f"the statistic of early exit is 'epoch_mean' or 'last', got {self.statistic!r}")


def has_jumped(before: Sequence[float], now: float, *, temperature: float, min_epoch: int) -> bool:
    """Whether a gauge of `now`, after epochs with `before`, ends the pass."""
    return len(before) >= min_epoch and temperature * sum(before) / len(before) < now


class ExitState:
    """State of the gauges; saved as plain data, so that a resumed run makes the same decisions."""

    def __init__(self, rule: EarlyExit, passes: Iterable[str], saved: Mapping[str, Any] | None = None) -> None:
        self.rule = rule
        names = list(passes)
        self.history: dict[str, list[float]] = {name: [] for name in names}
        self.exits: dict[str, int] = {}
        self._steps: dict[str, list[float]] = {name: [] for name in names}
        if saved is not None:
            if set(saved["history"]) != set(names):
                raise TrainingError(f"the checkpoint's early exit is about the passes {sorted(saved['history'])}")
            self.history = {name: list(values) for name, values in saved["history"].items()}
            self._steps = {name: list(values) for name, values in saved["steps"].items()}
            self.exits = dict(saved["exits"])

    @property
    def active(self) -> list[str]:
        """Passes that still train."""
        return [name for name in self.history if name not in self.exits]

    def observe(self, norms: Mapping[str, float], step: int) -> list[str]:
        """Add the gauges of step `step` (from 0) of the active passes that had data; return the passes that end.

        An epoch in which a pass had no data at all leaves no gauge.
        """
        for name, norm in norms.items():
            self._steps[name] = [norm] if self.rule.statistic == "last" else [*self._steps[name], norm]
        if (step + 1) % self.rule.steps_per_epoch:
            return []
        epoch, done = (step + 1) // self.rule.steps_per_epoch - 1, []
        for name in [name for name in self.active if self._steps[name]]:
            gauge = sum(self._steps[name]) / len(self._steps[name])
            before = self.history[name]
            if has_jumped(before, gauge, temperature=self.rule.temperature, min_epoch=self.rule.min_epoch):
                self.exits[name] = epoch
                done.append(name)
            self.history[name] = [*before, gauge]
        self._steps = {name: [] for name in self._steps}
        return done

    def to_dict(self) -> dict[str, Any]:
        """JSON data for a checkpoint."""
        return {"history": self.history, "exits": self.exits, "steps": self._steps}
