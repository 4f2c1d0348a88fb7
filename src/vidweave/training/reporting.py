"""Reports of a stage in training: rows, events, evaluations and the display."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from vidweave.training.checkpoint import Position
from vidweave.training.logs import CsvLog, EventLog
from vidweave.training.progress import ProgressDisplay
from vidweave.training.stages import Stage
from vidweave.training.step import set_modes

__all__ = ["StageReport"]


class StageReport:
    """Reports of one stage; processes other than the first (`is_writer` False) neither evaluate nor write."""

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        position: Position,
        *,
        log_every: int,
        is_writer: bool,
        display: ProgressDisplay,
        events: EventLog | None,
    ) -> None:
        self.stage = stage
        self.log_every = log_every
        self.display = display
        self.events = events
        self.last_loss: float | None = None
        self.last_metrics: dict[str, float] | None = None
        self._rows = self._metrics = None
        if is_writer:
            self._rows = CsvLog(folder / f"{stage.name}.csv", last_step=position.step)
            self._metrics = CsvLog(folder / f"{stage.name}.metrics.csv", last_step=position.step)

    def step(self, position: Position, row: Mapping[str, float], progress: float, *, is_last: bool) -> None:
        """Report a step; one in which no pass had data adds no row."""
        if math.isnan(row["loss"]):
            return
        self.last_loss = row["loss"]
        self.display.show(self.stage.name, position.step, progress, row["loss"], row["lr"])
        if self._rows is not None and (is_last or position.step % self.log_every == 0):
            self._rows.write({"step": position.step, **row, "seconds": round(position.elapsed_seconds, 3)})
            self._send(self.stage.name, row, position)

    def evaluate(self, model: nn.Module, position: Position, *, is_last: bool) -> dict[str, float] | None:
        """Evaluate if it is due, in eval mode and without gradients; return the metrics, or None."""
        stage = self.stage
        is_due = is_last or (stage.evaluate_every > 0 and position.step % stage.evaluate_every == 0)
        if stage.evaluate is None or not is_due:
            return None
        model.eval()
        with torch.no_grad():
            self.last_metrics = dict(stage.evaluate(model, position.step))
        set_modes(model)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.last_metrics.items())
        self.display.say(f"{stage.name} step {position.step}: {shown}")
        if self._metrics is not None:
            self._metrics.write({"step": position.step, **self.last_metrics})
            self._send(f"{stage.name}/metrics", self.last_metrics, position)
        return self.last_metrics

    @contextmanager
    def open(self) -> Iterator[StageReport]:
        """Close the files at the end of the context."""
        try:
            yield self
        finally:
            for log in (self._rows, self._metrics):
                if log is not None:
                    log.close()

    def _send(self, prefix: str, row: Mapping[str, float], position: Position) -> None:
        if self.events is not None:
            self.events.write(prefix, row, position.total_steps)
