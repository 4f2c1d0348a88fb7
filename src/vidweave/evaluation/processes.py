"""One run in several processes: the part of each by torchrun's or Slurm's environment, and the merged predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidweave.errors import ConfigError, PredictionError
from vidweave.evaluation.merging import merge_predictions
from vidweave.evaluation.parts import in_shard, recordings_of
from vidweave.evaluation.predictions import read_predictions

__all__ = ["Part", "merge_parts", "part_of_environment"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of a run that a process evaluates.

    Attributes:
        index, number: Part `index`, from 0, of `number`.
        source: What says so, for messages.
        local_rank: Rank of the process on its machine under torchrun; the number of its GPU.
    """

    index: int
    number: int
    source: str
    local_rank: int | None = None

    @property
    def shard(self) -> tuple[int, int]:
        """The argument of `evaluation.runner.collect`."""
        return self.index, self.number

    def file(self, predictions: Path, index: int | None = None) -> Path:
        """Return the prediction file of a part, this one by default: `r.jsonl` → `r.part-1-of-4.jsonl`."""
        place = (self.index if index is None else index) + 1
        return predictions.with_name(f"{predictions.stem}.part-{place}-of-{self.number}{predictions.suffix}")

    def is_empty(self, task: Any, limit: int | None, index: int | None = None) -> bool:
        """Whether a part, this one by default, has no questions: there are fewer recordings than parts."""
        return not self._ids(task, limit, self.index if index is None else index)

    def _ids(self, task: Any, limit: int | None, index: int) -> set[str]:
        ids = list(task.ids())[:limit]
        recordings = recordings_of(task, len(ids))
        if len(set(recordings)) <= index:
            return set()
        return {ids[i] for i in in_shard(recordings, (index, self.number))}


def part_of_environment(environment: Mapping[str, str]) -> Part | None:
    """Return the part of this process: rank of `torchrun`, task of a Slurm array, or both; None for a single process.

    Raises:
        ConfigError: A variable is no number, or out of range.
    """
    ranks, tasks = _ranks(environment), _array(environment)
    if ranks is None and tasks is None:
        return None
    (rank, world), (task, number) = ranks or (0, 1), tasks or (0, 1)
    names = [name for name, result in (("torchrun", ranks), ("the Slurm array", tasks)) if result]
    local = environment.get("LOCAL_RANK") if ranks else None
    return Part(
        index=task * world + rank,
        number=number * world,
        source=" in ".join(names),
        local_rank=None if local is None else _number("LOCAL_RANK", local),
    )


def _ranks(environment: Mapping[str, str]) -> tuple[int, int] | None:
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    rank, world = (_number(name, environment[name]) for name in ("RANK", "WORLD_SIZE"))
    if world == 1:
        return None
    if rank >= world:
        raise ConfigError(f"RANK must be below WORLD_SIZE, got {rank} and {world}")
    return rank, world


def _array(environment: Mapping[str, str]) -> tuple[int, int] | None:
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    if any(name not in environment for name in names):
        return None
    place, count = (_number(name, environment[name]) for name in names)
    first = _number("SLURM_ARRAY_TASK_MIN", environment.get("SLURM_ARRAY_TASK_MIN", "0"))
    step = _number("SLURM_ARRAY_TASK_STEP", environment.get("SLURM_ARRAY_TASK_STEP", "1")) or 1
    if count == 1:
        return None
    index, rest = divmod(place - first, step)
    if rest or not 0 <= index < count:
        raise ConfigError(
            f"the Slurm array must be a range such as --array=0-{count - 1}, got task {place} of {count} tasks from {first}; or "
            "give --shard I/N"
        )
    return index, count


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"{name} must be a whole number, got {text!r}; unset it, or give --shard I/N")
    return int(text)


def merge_parts(part: Part, task: Any, predictions: Path, limit: int | None = None) -> list[int]:
    """Merge the prediction files of all parts, and those of their baselines, once each part is complete.

    Every process may call this when it has finished; files that exist are left as they are.

    Returns:
        Parts, from 0, that are not complete; empty after merging.

    Raises:
        PredictionError: The parts are from different runs.
    """
    places = [i for i in range(part.number) if not part.is_empty(task, limit, i)]
    own = part.file(predictions)
    # This process has finished: it has a file of each baseline, and so must the others
    slugs = sorted(file.stem.removeprefix(own.stem) for file in own.parent.glob(f"{own.stem}.*{own.suffix}"))
    names = ["", *slugs]

    def file_of(path: Path, slug: str) -> Path:
        return path.with_name(f"{path.stem}{slug}{path.suffix}")

    missing = [
        i
        for i in places
        if not all(_is_complete(part, task, file_of(part.file(predictions, i), s), limit, i) for s in names)
    ]
    if missing:
        return missing
    for slug in reversed(names):  # the run itself comes last: it is there when everything is
        out = file_of(predictions, slug)
        if not out.exists():
            merge_predictions([file_of(part.file(predictions, i), slug) for i in places], out)
    return []


def _is_complete(part: Part, task: Any, file: Path, limit: int | None, index: int) -> bool:
    expected = part._ids(task, limit, index)
    if not expected:
        return True
    if not file.exists():
        return False
    try:
        _, predictions = read_predictions(file)
    except PredictionError:  # being begun by its process
        return False
    return expected <= {prediction.id for prediction in predictions}
