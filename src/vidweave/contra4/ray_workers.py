"""Run shards on a cluster: Ray Data distributes them to a pool of workers (extra `scale`).

All nodes must see the run's folder under the same path. A worker that dies is replaced and its shard is recomputed; since
shards are complete or absent, the result is the same.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidweave import errors
from vidweave.contra4.executors import ShardWork, ShardWorker
from vidweave.contra4.shards import ShardReport
from vidweave.errors import ConfigError, MissingExtraError, PipelineError, VidweaveError

__all__ = ["RayWorkers"]


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """Executor that runs shards on Ray workers.

    Attributes:
        workers: Number of workers. Each has its own engines and its own cache file.
        num_cpus: Cores reserved per worker. Half a core leaves capacity for Ray Data's own tasks: with whole cores, as
            many workers as cores deadlock.
        num_gpus: GPUs reserved per worker, for in-process engines.
        address: Address of a running cluster; None uses the connected one, or starts one on this machine.
    """

    workers: int
    num_cpus: float = 0.5
    num_gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"a pool needs at least 1 worker, got {self.workers}")

    def run(self, work: ShardWork, shards: Sequence[int]) -> Iterator[tuple[int, ShardReport]]:
        if not shards:
            return
        ray = _connected(self.address)
        pieces = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        done = pieces.map_batches(
            _Worker,
            fn_constructor_args=(_pickled(work),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(shards))),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
        )
        for row in done.iter_rows():
            _raise(row["kind"], row["message"])
            yield int(row["shard"]), ShardReport(**json.loads(row["report"]))


class _Worker:
    """Ray actor. Our errors are returned as values: Ray would wrap them in its own."""

    def __init__(self, work: bytes) -> None:
        from ray import cloudpickle

        self._worker = ShardWorker(cloudpickle.loads(work))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        shard, report, kind, message = int(batch["shard"][0]), "", "", ""
        try:
            report = json.dumps(asdict(self._worker.make(shard)))
        except VidweaveError as error:
            kind, message = type(error).__name__, str(error)
        return {"shard": [shard], "report": [report], "kind": [kind], "message": [message]}


def _raise(kind: str, message: str) -> None:
    """Raise the worker's error again, with its original class if that takes only a message."""
    if not kind:
        return
    try:
        error = getattr(errors, kind)(message)
    except (AttributeError, TypeError):
        error = PipelineError(message)
    raise error


def _pickled(work: ShardWork) -> bytes:
    """Pickle the work, including everything defined in recipe files, which workers cannot import."""
    from ray import cloudpickle

    for name, module in list(sys.modules.items()):
        if name.startswith("vidweave_recipe_"):
            cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(work)  # pyright: ignore[reportPrivateImportUsage]


def _connected(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "scale", "spreading a run over workers") from error
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray
