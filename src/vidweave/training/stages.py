"""Configuration of a run: stages, each with its objective, data, passes and optimizer settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vidweave.errors import ConfigError, TrainingError
from vidweave.training.best import KeepBest
from vidweave.training.early_exit import EarlyExit
from vidweave.training.schedule import Schedule

if TYPE_CHECKING:
    from torch import nn

    from vidweave.types import Objective

__all__ = ["AdamWSettings", "Examples", "HasStream", "Pass", "Run", "Stage", "match_parameters"]


class Examples(Protocol):
    """Map-style source: example `index` is the same at every call, from any thread."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class HasStream:
    """Predicate for `Pass.has_data`: whether a batch (`ModelInputs`) contains any clip with the stream `name`."""

    name: str

    def __call__(self, batch: Any) -> bool:
        stream = batch.streams.get(self.name)
        return stream is not None and len(stream.item) > 0


@dataclass(frozen=True)
class Pass:
    """One forward, backward and optimizer step on a batch that updates only some parameters.

    `trainable` contains patterns (`*`, `?`) over the model's parameter names. Parameters of the stage's other passes
    have no gradient in this one, so the optimizer skips them: neither momentum nor weight decay changes them.

    `has_data` tells whether a batch has data for this pass (``HasStream("audio")``); a step whose batches have none
    skips the pass, so that no parameter changes. None: every batch has data.
    """

    name: str = "all"
    trainable: tuple[str, ...] = ("*",)
    has_data: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.trainable, str):
            raise ConfigError(f"trainable must be a tuple of patterns, got the text {self.trainable!r}; add a comma")
        object.__setattr__(self, "trainable", tuple(self.trainable))


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """Settings of AdamW, with the parameters without weight decay.

    Attributes:
        lr: Learning rate at factor 1 of the schedule.
        clip_norm: Maximum gradient norm of a pass; None does not clip.
        no_decay: Patterns of parameter names without weight decay, in addition to those with fewer than `decay_min_ndim` axes.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float | None = 1.0
    no_decay: tuple[str, ...] = ("*bias", "*norm[!a]*")  # norms, but not the modality `normals`
    decay_min_ndim: int = 2

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.eps <= 0 or self.weight_decay < 0:
            raise ConfigError(f"AdamW needs lr > 0, eps > 0 and weight_decay >= 0, got {self}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"clip_norm must be positive or None, got {self.clip_norm}")

    def decays(self, name: str, ndim: int) -> bool:
        """Whether weight decay applies to parameter `name`."""
        return ndim >= self.decay_min_ndim and not any(fnmatchcase(name, pattern) for pattern in self.no_decay)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A number of steps of one objective on one source of examples.

    Attributes:
        objective: ``(model, batch) -> {"loss", ...parts}``; plain settings, no parameters of its own.
        examples: Map-style source, or a function of the model that creates it when the stage begins (features of an
            encoder trained by an earlier stage); called again on resume.
        collate: List of examples → batch.
        passes: Optimizer steps per batch; together they name the trainable parameters of this stage; all others are
            frozen, have no gradient and run in eval mode.
        early_exit: Criterion that ends a pass early; the stage ends when all passes have ended.
        batch_size: Examples per step over all processes and micro-batches.
        accumulate: Micro-batches per step and process. The gradient is that of one large batch: each term of the loss
            is averaged over the whole step, by the counts that the objective declares (`MeanOver`), or over examples if
            it declares none.
        share: Share of the time budget, relative to the following stages.
        precision: `bf16-mixed` computes the objective under autocast; weights stay as they are.
        loader_threads: Threads that prepare batches ahead; 0 prepares each on demand. The batches are the same.
        loader_workers: Spawned processes that do this instead of threads, since Python threads decode and tokenize on
            only one core. `examples` and `collate` are pickled to each of them once: they may contain a `Processor`,
            but no model. A script that sets it needs `if __name__ == "__main__":`. See `batches.default_workers`.
        evaluate: ``(model, step) -> {name: number}``, in eval mode without gradients, every `evaluate_every` steps
            and at the end of the stage; logged.
        keep_best: Finish the run with the weights of the best evaluation; only for the last stage.
    """

    name: str
    objective: Objective
    examples: Examples | Callable[[Any], Examples]
    collate: Callable[[list[Any]], Any]
    steps: int
    batch_size: int
    passes: Sequence[Pass] = (Pass(),)
    optimizer: AdamWSettings = field(default_factory=AdamWSettings)
    schedule: Schedule = field(default_factory=lambda: Schedule("cosine"))
    early_exit: EarlyExit | None = None
    accumulate: int = 1
    shuffle: bool = True
    share: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    loader_threads: int = 0
    loader_workers: int = 0
    evaluate: Callable[[Any, int], Mapping[str, float]] | None = None
    evaluate_every: int = 0
    keep_best: KeepBest | None = None

    def __post_init__(self) -> None:
        if self.keep_best is not None and self.evaluate is None:
            raise ConfigError(f"stage {self.name!r} keeps the best {self.keep_best.metric!r}, but has no evaluate")
        if (
            self.steps < 1
            or self.batch_size < 1
            or self.accumulate < 1
            or self.share <= 0
            or min(self.loader_threads, self.loader_workers) < 0
        ):
            raise ConfigError(
                f"stage {self.name!r} needs steps, batch_size and accumulate of at least 1 and a positive share, got "
                f"{self.steps}, {self.batch_size}, {self.accumulate} and {self.share}"
            )
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ConfigError(f"precision of stage {self.name!r} is '32-true' or 'bf16-mixed', got {self.precision!r}")
        _check_names("pass", [p.name for p in self.passes], f"stage {self.name!r}")

    def trainable(self, model: nn.Module) -> dict[str, list[str]]:
        """Map each pass to the names of its trainable parameters.

        Raises:
            TrainingError: a pattern matches no parameter; the message lists near names.
        """
        names = [name for name, _ in model.named_parameters()]
        return {
            p.name: match_parameters(names, p.trainable, f"pass {p.name!r} of stage {self.name!r}") for p in self.passes
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run, as returned by a recipe.

    Attributes:
        model: The module to train. Its frozen weights are not in the checkpoints, so the recipe must create the same
            ones each time.
        finish: ``(model, out)`` at the end, on the first process: writes the result of the run.
        config: Plain data (or a dataclass) that distinguishes this run from others; a checkpoint can only be resumed
            with an equal one. A setting `workers` may differ, since batches do not depend on it.
    """

    name: str
    model: nn.Module
    stages: Sequence[Stage]
    seed: int = 0
    finish: Callable[[Any, Path], Any] | None = None
    config: Any = None

    def __post_init__(self) -> None:
        _check_names("stage", [stage.name for stage in self.stages], f"run {self.name!r}")
        for stage in self.stages[:-1]:
            if stage.keep_best is not None:
                raise ConfigError(f"only the last stage can keep its best weights, not {stage.name!r}")

    def trainable(self) -> list[str]:
        """Return the names of the parameters that are trainable in any stage, in the order of the model."""
        trainable = {name for stage in self.stages for names in stage.trainable(self.model).values() for name in names}
        return [name for name, _ in self.model.named_parameters() if name in trainable]


def match_parameters(names: Sequence[str], patterns: Sequence[str], where: str) -> list[str]:
    """Return the `names` that match any pattern, in order; every pattern must match (TrainingError)."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, n=3, cutoff=0.4) or list(names)[:3]
            raise TrainingError(
                f"pattern {pattern!r} in {where} matches no parameter; near: {', '.join(near) or 'none'}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _check_names(what: str, names: list[str], where: str) -> None:
    if not names or len(set(names)) != len(names) or not all(names):
        raise ConfigError(f"{where} needs at least one {what}, each with its own name, got {names}")
