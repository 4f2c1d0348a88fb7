"""Training loop on Lightning Fabric: stages, steps, checkpoints, resume."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidweave.errors import ConfigError, NonFiniteError, TrainingError
from vidweave.training.batches import BatchSource
from vidweave.training.best import BestState, best_file, read_best, write_best
from vidweave.training.checkpoint import (
    Checkpoints,
    Position,
    load_optimizer,
    load_trainable,
    optimizer_tensors,
    trainable_tensors,
)
from vidweave.training.clock import Clock
from vidweave.training.data_identity import check_same_data, describe_data
from vidweave.training.engine import is_out_of_memory, start_engine
from vidweave.training.identity import check_same_run, describe_run, longer_stages, run_hash
from vidweave.training.interruption import StopRequest, locked_folder, stop_requests
from vidweave.training.logs import EventLog, write_names
from vidweave.training.progress import ProgressDisplay
from vidweave.training.reporting import StageReport
from vidweave.training.sampler import Sampler
from vidweave.training.stages import Run, Stage
from vidweave.training.step import StageStep, seed_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["TrainResult", "train"]

_LOG = logging.getLogger("vidweave.training")
_OF_STAGE = ("step", "stage_started_seconds", "sampler", "early_exit", "best")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Result of a run.

    Attributes:
        total_steps: Steps done in all stages, over all interruptions.
        losses: Last logged loss of each stage trained in this call.
        metrics: Last evaluation of each stage evaluated in this call.
        finish: Return value of the run's `finish`, on the first process.
    """

    out: Path
    elapsed_seconds: float
    total_steps: int
    losses: dict[str, float]
    metrics: dict[str, dict[str, float]]
    finish: Any = None


def train(
    run: Run,
    out: str | Path,
    *,
    budget_seconds: float | None = None,
    resume: bool = True,
    devices: int = 1,
    accelerator: str = "cpu",
    strategy: Any = "auto",
    checkpoint_every: int = 500,
    log_every: int = 1,
    has_events: bool | None = None,
    has_progress: bool = True,
) -> TrainResult:
    """Train `run` into the folder `out`: checkpoints, ``logs/*.csv``, TensorBoard events, the names
    of trainable parameters (``logs/*.trainable.txt``), ``run.json``.

    On the CPU, a run that was killed at any time and is restarted continues to the same losses, bit for bit
    (without a time budget, and with the same number of threads). A run may be resumed with more steps or epochs in its
    last stage, or with more examples after the old ones; other data and another number of processes are refused.

    Args:
        budget_seconds: Training time over all interruptions; each stage gets its share, and schedules follow the time
            if it is further than the steps. None: all steps.
        resume: Continue from the last checkpoint in `out`; False rejects a folder that contains one.
        devices: Number of processes. Strategy `auto` is DDP for several; if the loss does not always depend on every
            trainable parameter, use `ddp_find_unused_parameters_true`.
        checkpoint_every: Steps between checkpoints; one more at the end of each stage.
        log_every: Steps between rows of the logs.
        has_events: Write TensorBoard events; None: if tensorboard is installed.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        TrainingError: the run cannot start, continue (NaN, out of memory, disk full) or resume (another recipe).
    """
    if checkpoint_every < 1 or log_every < 1:
        raise ConfigError(f"checkpoint_every and log_every must be at least 1, got {checkpoint_every} and {log_every}")
    description = describe_run(run)
    fabric = start_engine(accelerator=accelerator, devices=devices, strategy=strategy)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(locked_folder(Path(out)))
        session = _Session(
            fabric=fabric,
            run=run,
            out=Path(out),
            description=description,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
            display=stack.enter_context(ProgressDisplay(is_shown=has_progress and fabric.is_global_zero)),
            stop=stack.enter_context(stop_requests()),
        )
        position = session.open(resume=resume, budget_seconds=budget_seconds)
        wants_events = EventLog.is_available() if has_events is None else has_events
        if wants_events and fabric.is_global_zero:
            session.events = EventLog(session.out / "logs", last_step=position.total_steps)
            stack.callback(session.events.close)
        return session.train(position)


@dataclass(kw_only=True)
class _Session:
    """One process's part of a run, from its start to its end or interruption."""

    fabric: Fabric
    run: Run
    out: Path
    description: dict[str, Any]
    checkpoint_every: int
    log_every: int
    display: ProgressDisplay
    stop: StopRequest
    events: EventLog | None = None

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.out / "checkpoints")
        self.trainable = self.run.trainable()
        self.losses: dict[str, float] = {}
        self.metrics: dict[str, dict[str, float]] = {}
        self.optimizer_state: dict[str, Tensor] = {}

    def open(self, *, resume: bool, budget_seconds: float | None) -> Position:
        """Return the position to begin at: the start, or the last checkpoint, after restoring its weights."""
        if self.fabric.is_global_zero:
            self.checkpoints.clean()
            if not resume and self.checkpoints.complete():
                raise TrainingError(f"{self.out} already holds checkpoints; resume, or train into another folder")
        self.fabric.barrier()
        self.fabric.to_device(self.run.model)
        position = Position(run=self.description, world_size=self.fabric.world_size)
        saved = self.checkpoints.latest()
        if saved is not None:
            position, weights, self.optimizer_state = saved
            check_same_run(position.run, self.description)
            position = replace(self._lengthened(position), run=self.description)
            self._check_surroundings(position)
            load_trainable(self.run.model, self.trainable, weights)
            self.display.say(f"{self.run.name}: resuming after {position.total_steps} steps")
        if self.fabric.is_global_zero:
            summary = {"hash": run_hash(self.description), **self.description}
            (self.out / "run.json").write_text(json.dumps(summary, indent=1))
        self.clock = Clock(budget_seconds, elapsed=position.elapsed_seconds)
        return position

    def _lengthened(self, position: Position) -> Position:
        """Adjust the position of the run to the current lengths of its stages."""
        names = [stage.name for stage in self.run.stages]
        done = [name for name in longer_stages(position.run, self.description) if names.index(name) < position.stage]
        if done and (done != names[-1:] or position.ended is None):
            raise TrainingError(
                f"stage {done[0]!r} is done and has more steps now; only the running stage or a complete run's last one "
                "can be extended, so resume with the old number, or train into another folder"
            )
        if done and position.ended is not None:
            return replace(position, stage=position.stage - 1, **position.ended, ended=None)
        if position.ended is not None:
            self.optimizer_state = {}
        return position

    def _check_surroundings(self, position: Position) -> None:
        """Raise TrainingError if the number of processes, or the data of finished stages, has changed."""
        if position.stage < len(self.run.stages) and position.world_size not in (None, self.fabric.world_size):
            raise TrainingError(
                f"the checkpoint was trained by {position.world_size} processes, now there are {self.fabric.world_size}; "
                f"resume with devices={position.world_size}, or train into another folder"
            )
        for stage in self.run.stages[: position.stage]:
            if stage.name in position.data and hasattr(stage.examples, "__getitem__"):
                source = self._batches(stage, stage.examples, position.stage)
                check_same_data(position.data[stage.name], source)

    def train(self, position: Position) -> TrainResult:
        """Run all stages from `position` on, then `finish`."""
        while position.stage < len(self.run.stages):
            position = self._train_stage(position)
        self._load_best()
        self.run.model.eval()
        finish = None
        if self.run.finish is not None and self.fabric.is_global_zero:
            finish = self.run.finish(self.run.model, self.out)
        self.fabric.barrier()
        return TrainResult(
            out=self.out,
            elapsed_seconds=self.clock.elapsed(),
            total_steps=position.total_steps,
            losses=self.losses,
            metrics=self.metrics,
            finish=finish,
        )

    def _train_stage(self, position: Position) -> Position:
        """Run the rest of one stage; save and return the position after it."""
        stage = self.run.stages[position.stage]
        shares = [later.share for later in self.run.stages[position.stage :]]
        self.clock.begin_stage(shares, position.stage_started_seconds)
        source = self._source(stage, position)
        is_derived = not hasattr(stage.examples, "__getitem__")
        if stage.name in position.data:
            check_same_data(position.data[stage.name], source)
        described = describe_data(source, is_derived=is_derived)
        position = replace(position, data={**position.data, stage.name: described})
        stage_step = StageStep(self.fabric, self.run.model, stage, step=position.step, exit_state=position.early_exit)
        load_optimizer(stage_step.raw_optimizer, stage_step.parameters, self.optimizer_state)
        self._announce(stage, stage_step)
        with self._report(stage, position) as report, closing(source.steps(position.step, stage.steps)) as batches:
            position = self._steps(stage_step, source, batches, report, position)
        if report.last_loss is not None:
            self.losses[stage.name] = report.last_loss
        if report.last_metrics is not None:
            self.metrics[stage.name] = report.last_metrics
        is_last = position.stage == len(self.run.stages) - 1
        state = optimizer_tensors(stage_step.raw_optimizer, stage_step.parameters) if is_last else {}
        self.optimizer_state = {}
        del stage_step
        gc.collect()  # a DDP wrapper keeps hooks on the parameters until it is deleted
        elapsed, _ = self._agreed()
        ended = {
            "step": 0,
            "elapsed_seconds": elapsed,
            "stage_started_seconds": elapsed,
            "sampler": None,
            "early_exit": None,
            "best": None,
            "ended": {name: getattr(position, name) for name in _OF_STAGE} if is_last else None,
        }
        position = replace(position, stage=position.stage + 1, **ended)
        self._save(position, state)
        return position

    def _steps(
        self,
        stage_step: StageStep,
        source: BatchSource,
        batches: Iterator[list[Any]],
        report: StageReport,
        position: Position,
    ) -> Position:
        stage = stage_step.stage
        done = self.clock.progress(position.step, stage.steps, position.elapsed_seconds)
        progress = 1.0 if stage_step.is_done else done
        while progress < 1:
            at = self.clock.schedule_step(position.step, stage.steps, progress)
            row = self._step(stage_step, batches, position, stage.schedule.factor(at, progress))
            elapsed, stop_signal = self._agreed()
            done = {"step": position.step + 1, "total_steps": position.total_steps + 1, "elapsed_seconds": elapsed}
            exits = None if stage_step.exits is None else stage_step.exits.to_dict()
            position = replace(position, **done, sampler=source.sampler.state(position.step + 1), early_exit=exits)
            progress = 1.0 if stage_step.is_done else self.clock.progress(position.step, stage.steps, elapsed)
            report.step(position, row, progress, is_last=progress >= 1)
            metrics = report.evaluate(self.run.model, position, is_last=progress >= 1)
            if stage.keep_best is not None and metrics is not None:
                position, is_exhausted = self._keep_best(stage, position, metrics)
                progress = 1.0 if is_exhausted else progress
            if stop_signal or (progress < 1 and position.step % self.checkpoint_every == 0):
                self._save(position, optimizer_tensors(stage_step.raw_optimizer, stage_step.parameters))
            self.stop.end(stop_signal, f"after step {position.step} of stage {stage.name!r}")
        return position

    def _keep_best(self, stage: Stage, position: Position, metrics: Mapping[str, float]) -> tuple[Position, bool]:
        """Write the weights if the evaluation is the best so far; return whether the stage's patience is used up."""
        assert stage.keep_best is not None
        before = BestState(**(position.best or {}))
        now = before.after(stage.keep_best, metrics, position.step)
        if now.step == position.step and self.fabric.is_global_zero:
            write_best(best_file(self.out, stage.name), trainable_tensors(self.run.model, self.trainable))
        self.fabric.barrier()
        is_exhausted = now.is_exhausted(stage.keep_best)
        if is_exhausted:
            self.display.say(
                f"{stage.name}: stopped after {now.waited} evaluations without improvement; "
                f"best {stage.keep_best.metric} {now.value:.4g} at step {now.step}"
            )
        return replace(position, best=now.to_dict()), is_exhausted

    def _load_best(self) -> None:
        """Load the best weights of the last stage into the model, if it keeps them."""
        stage = self.run.stages[-1]
        if stage.keep_best is not None:
            load_trainable(self.run.model, self.trainable, read_best(best_file(self.out, stage.name)))

    def _step(
        self, stage_step: StageStep, batches: Iterator[list[Any]], position: Position, lr_factor: float
    ) -> dict[str, float]:
        """Run one step; errors name the stage, the step and the advice."""
        where = f"step {position.step + 1} of stage {stage_step.stage.name!r}"
        seed_step(self.run.seed, position.stage, position.step, self.fabric.global_rank)
        try:
            return stage_step(next(batches), lr_factor)
        except (TrainingError, NonFiniteError) as error:
            raise TrainingError(f"{where}: {error}; {self._last_good()}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            stage = stage_step.stage
            raise TrainingError(
                f"{where}: out of memory with batch_size {stage.batch_size} in {stage.accumulate} micro-batches on "
                f"{self.fabric.world_size} device(s); raise accumulate or lower batch_size; {self._last_good()}"
            ) from error

    def _source(self, stage: Stage, position: Position) -> BatchSource:
        """Create the stage's batches, checked against the checkpoint."""
        seed_step(self.run.seed, position.stage, -1, 0)
        examples: Any = stage.examples
        if not hasattr(examples, "__getitem__"):
            self.run.model.eval()
            with torch.no_grad():
                examples = examples(self.run.model)
        source = self._batches(stage, examples, position.stage)
        if position.sampler is not None:
            source.sampler.as_of(position.sampler).check_state(position.sampler, position.step)
        return source

    def _batches(self, stage: Stage, examples: Any, number: int) -> BatchSource:
        seed = self.run.seed + number
        sampler = Sampler(size=len(examples), batch_size=stage.batch_size, seed=seed, shuffle=stage.shuffle)
        ranks = {"rank": self.fabric.global_rank, "world_size": self.fabric.world_size}
        sampler.batch(0, **ranks, parts=stage.accumulate)  # a batch size that does not divide fails here
        return BatchSource(stage=stage, examples=examples, sampler=sampler, **ranks)

    def _announce(self, stage: Stage, stage_step: StageStep) -> None:
        """Report the trainable parameters; all names are in ``logs/STAGE.trainable.txt``."""
        trainable = sum(p.numel() for p in stage_step.parameters.values())
        total = sum(p.numel() for p in self.run.model.parameters())
        self.display.begin(stage.name)
        self.display.say(
            f"stage {stage.name}: {trainable:,} of {total:,} parameters are trainable, in {len(stage_step.parameters)} tensors"
        )
        for learning in stage.passes:
            _LOG.info("stage %s, pass %s trains %s", stage.name, learning.name, ", ".join(learning.trainable))
        if self.fabric.is_global_zero:
            write_names(self.out / "logs" / f"{stage.name}.trainable.txt", stage_step.passes)

    def _report(self, stage: Stage, position: Position) -> AbstractContextManager[StageReport]:
        return StageReport(
            stage,
            self.out / "logs",
            position,
            log_every=self.log_every,
            is_writer=self.fabric.is_global_zero,
            display=self.display,
            events=self.events,
        ).open()

    def _agreed(self) -> tuple[float, int]:
        """Return elapsed seconds and the stop signal, synchronized over all processes."""
        elapsed, stop_signal = self.clock.elapsed(), self.stop.signal
        if self.fabric.world_size == 1:
            return elapsed, stop_signal
        numbers = torch.tensor([elapsed, float(stop_signal)], dtype=torch.float64, device=self.fabric.device)
        slowest: Any = self.fabric.all_reduce(numbers, reduce_op="max")
        return float(slowest[0]), int(slowest[1])

    def _save(self, position: Position, optimizer: dict[str, Tensor]) -> None:
        if self.fabric.is_global_zero:
            self.checkpoints.save(position, trainable_tensors(self.run.model, self.trainable), optimizer)
        self.fabric.barrier()

    def _last_good(self) -> str:
        result = self.checkpoints.complete()
        return f"the last good checkpoint is {result[0]}" if result else "there is no checkpoint yet"
