"""The best weights of a stage by an evaluated metric, and early stopping when it no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidweave.errors import ConfigError, TrainingError
from vidweave.nn.tensor_files import save_tensors
from vidweave.storage.files import sync

__all__ = ["BestState", "KeepBest", "best_file", "read_best", "write_best"]


@dataclass(frozen=True, kw_only=True)
class KeepBest:
    """Keep the weights with the best value of a metric of `Stage.evaluate`, and finish the run with them.

    Attributes:
        metric: Name of the metric.
        mode: Whether a larger (`max`) or smaller (`min`) value is better.
        patience: End the stage after this many evaluations in a row without improvement; 0 never does.
    """

    metric: str
    mode: Literal["max", "min"] = "max"
    patience: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min") or self.patience < 0:
            raise ConfigError(f"mode is 'max' or 'min' and patience at least 0, got {self.mode!r} and {self.patience}")


@dataclass(frozen=True)
class BestState:
    """Best value so far.

    Attributes:
        value: Value of the metric; None before the first evaluation.
        step: Step of the stage at which it was reached.
        waited: Number of evaluations since then.
    """

    value: float | None = None
    step: int = 0
    waited: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)

    def after(self, settings: KeepBest, metrics: Mapping[str, float], step: int) -> BestState:
        """State after an evaluation at `step`; its `step` is the new one if the value is the best so far.

        Raises:
            TrainingError: the evaluation returned no such metric, or a value that is not finite.
        """
        if settings.metric not in metrics:
            raise TrainingError(
                f"the evaluation has no metric {settings.metric!r}; it returned {', '.join(metrics) or 'nothing'}"
            )
        value = float(metrics[settings.metric])
        if not math.isfinite(value):
            raise TrainingError(f"the metric {settings.metric!r} is {value} at step {step}; it must be finite")
        sign = 1 if settings.mode == "max" else -1
        if self.value is None or sign * value > sign * self.value:
            return BestState(value, step, 0)
        return replace(self, waited=self.waited + 1)

    def is_exhausted(self, settings: KeepBest) -> bool:
        """Whether the patience is used up."""
        return 0 < settings.patience <= self.waited


def best_file(out: Path, stage: str) -> Path:
    """Return the file of the best weights of a stage."""
    return out / "best" / f"{stage}.safetensors"


def write_best(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights, all or nothing.

    Raises:
        TrainingError: the disk is full; the older file is kept.
    """
    temporary = file.with_name(f".writing-{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(temporary, weights)
        sync(temporary)
        temporary.replace(file)
        sync(file.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"the best weights {file} could not be written ({error}); free space and resume") from error


def read_best(file: Path) -> dict[str, Tensor]:
    """Read the weights.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise TrainingError(
            f"the best weights {file} cannot be read ({error}); train again from the last checkpoint before them"
        ) from error
