"""Batches of a stage, in the sampler's order, prepared when needed or ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vidweave.errors import TrainingError
from vidweave.training.sampler import Sampler
from vidweave.training.stages import Examples, Stage

__all__ = ["BatchSource", "MicroBatch"]


@dataclass(frozen=True)
class MicroBatch:
    """A collated batch and the indices of its examples."""

    batch: Any
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """The micro-batches that one process takes in each step; a pure function of the step."""

    stage: Stage
    examples: Examples
    sampler: Sampler
    rank: int = 0
    world_size: int = 1

    def step(self, step: int) -> list[MicroBatch]:
        """The micro-batches of `step` (from 0).

        Raises:
            TrainingError: an example or a batch could not be made; the message names it.
        """
        parts = self.sampler.batch(step, rank=self.rank, world_size=self.world_size, parts=self.stage.accumulate)
        return [MicroBatch(self._collate([self.example(i) for i in part], part), tuple(part)) for part in parts]

    def steps(self, start: int, stop: int) -> Generator[list[MicroBatch], None, None]:
        """`step(start)`, …, `step(stop - 1)`."""
        threads = self.stage.loader_threads
        if not threads:
            yield from map(self.step, range(start, stop))
            return
        waiting: deque[Future[list[MicroBatch]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix=f"load-{self.stage.name}")
        try:
            for step in range(start, stop):
                waiting.append(pool.submit(self.step, step))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def example(self, index: int) -> Any:
        """Example `index`; TrainingError if it could not be made."""
        try:
            return self.examples[index]
        except Exception as error:
            raise TrainingError(f"example {index} could not be made: {error!r}") from error

    def _collate(self, examples: list[Any], indices: list[int]) -> Any:
        try:
            return self.stage.collate(examples)
        except Exception as error:
            shown = ", ".join(map(str, indices[:8])) + (", …" if len(indices) > 8 else "")
            raise TrainingError(f"examples {shown} do not collate: {error!r}") from error
