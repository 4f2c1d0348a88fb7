"""`vidweave evaluate` in several processes: each evaluates its part, and the last one to finish merges and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vidweave.cli.output import show
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.cli.benchmarks import RunOptions
    from vidweave.evaluation.processes import Part
    from vidweave.evaluation.runner import Task
    from vidweave.types import Answerer

__all__ = ["device_of", "evaluate_part", "this_part"]


def this_part(shard: str | None, predictions: str | None, num_settings: int) -> Part | None:
    """Return this process's part by torchrun's or Slurm's variables; None with --shard or for a single process.

    Raises:
        ConfigError: No --predictions, from which the other files are named; or a sweep.
    """
    import os

    from vidweave.evaluation.processes import part_of_environment

    part = None if shard is not None else part_of_environment(os.environ)
    if part is None:
        return None
    if predictions is None:
        raise ConfigError(
            f"{part.source} runs {part.number} processes, which write their predictions beside each other; give --predictions "
            "FILE in a folder that all of them see"
        )
    if num_settings > 1:
        raise ConfigError(f"a sweep is one process, and {part.source} runs {part.number}; give one value per command")
    return part


def device_of(part: Part | None, device: str | None) -> str | None:
    """Return the device of this process: under torchrun, each has its own GPU unless --device names one."""
    if device is not None or part is None or part.local_rank is None:
        return device
    import torch

    return f"cuda:{part.local_rank % torch.cuda.device_count()}" if torch.cuda.is_available() else None


def evaluate_part(
    answerer: Answerer,
    task: Task,
    options: RunOptions,
    part: Part,
    report_all: Callable[[RunOptions], None],
    *,
    as_json: bool,
) -> None:
    """Evaluate a part, and report the whole run if all other parts are complete.

    Args:
        report_all: Scores and shows the merged predictions, which hold every answer.
    """
    from vidweave.cli.benchmarks import report_of
    from vidweave.evaluation.processes import merge_parts

    assert options.predictions is not None
    final = Path(options.predictions)
    own = part.file(final)
    if part.is_empty(task, options.limit):
        data = {"part": part.index + 1, "num_parts": part.number, "predictions": None, "waiting_for": []}
        show(
            data,
            f"part {part.index + 1} of {part.number} has no questions: there are fewer recordings",
            as_json=as_json,
        )
        return
    only_asked = replace(options, shard=part.shard, judge=None, metrics=(), predictions=str(own), submission=None)
    report_of(answerer, task, only_asked, own)
    waiting_for = merge_parts(part, task, final, options.limit)
    if not waiting_for:
        report_all(options)
        return
    data = {
        "part": part.index + 1,
        "num_parts": part.number,
        "predictions": own,
        "waiting_for": [i + 1 for i in waiting_for],
    }
    text = (
        f"part {part.index + 1} of {part.number} is in {own}; the last process to finish merges all parts into {final} and "
        "prints the report"
    )
    show(data, text, as_json=as_json)
