"""Executors that run a stage on its shards; the result does not depend on the executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from vidweave.contra4.shards import ShardFolder, ShardReport
from vidweave.contra4.stage import RowStage, Tallying
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage
from vidweave.errors import PipelineError

__all__ = ["Executor", "InProcess", "ShardWork", "ShardWorker"]


@dataclass(frozen=True, kw_only=True)
class ShardWork:
    """One stage that reads from one folder and writes to another, with a completion cache."""

    stage: RowStage
    source: Path
    target: Path
    cache: Path


class ShardWorker:
    """Process shards of one stage; holds a reader of the cache and its own cache file."""

    def __init__(self, work: ShardWork) -> None:
        self.work = work
        self._cache = _use_cache(work.cache)

    def make(self, index: int) -> ShardReport:
        """Read a shard, run the stage and write the result."""
        usage = Usage()
        stage = self.work.stage.with_engines(lambda engine: CachedEngine(engine, self._cache, usage))
        rows = ShardFolder(self.work.source).read(index)
        done = stage.run(rows)
        tally = stage.tally(rows) if isinstance(stage, Tallying) else {}
        counted = {key: value for key, value in asdict(usage).items() if key != "asked"}
        return ShardFolder(self.work.target).write(index, done, tally, counted if usage.requests else {})

    def close(self) -> None:
        self._cache.close()


def _use_cache(folder: Path) -> ResponseCache:
    try:
        return ResponseCache(folder)
    except OSError as error:
        raise PipelineError(f"cannot use the cache {folder}: {error.strerror}") from error


class Executor(Protocol):
    """Protocol that runs work on shards."""

    def run(self, work: ShardWork, shards: Sequence[int]) -> Iterator[tuple[int, ShardReport]]:
        """Yield each shard with its report, in completion order."""
        ...


class InProcess:
    """Process shards one after the other in this process."""

    def run(self, work: ShardWork, shards: Sequence[int]) -> Iterator[tuple[int, ShardReport]]:
        if not shards:
            return
        worker = ShardWorker(work)
        try:
            for index in shards:
                yield index, worker.make(index)
        finally:
            worker.close()
