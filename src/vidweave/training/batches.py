"""Batches of a stage in the sampler's order, prepared on demand, or ahead by threads or spawned processes."""

from __future__ import annotations

import io
import os
import pickle
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from vidweave.errors import TrainingError
from vidweave.training.sampler import Sampler
from vidweave.training.stages import Examples, Stage

__all__ = ["BatchSource", "MicroBatch", "default_workers", "pickled_source"]

_MOST_TENSOR_BYTES = 1_000_000  # pickled with a collate function; features and labels belong in the examples


def default_workers() -> int:
    """Return the default number of processes that prepare batches: 2 with at least 4 CPU cores, else 0."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if cores >= 4 else 0


@dataclass(frozen=True)
class MicroBatch:
    """A collated batch and the indices of its examples."""

    batch: Any
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """The micro-batches of one process in each step; a pure function of the step."""

    stage: Stage
    examples: Examples
    sampler: Sampler
    rank: int = 0
    world_size: int = 1

    def step(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of `step` (from 0).

        Raises:
            TrainingError: an example or a batch could not be built; the message names it.
        """
        parts = self.sampler.batch(step, rank=self.rank, world_size=self.world_size, parts=self.stage.accumulate)
        return [MicroBatch(self._collate([self.example(i) for i in part], part), tuple(part)) for part in parts]

    def steps(self, start: int, stop: int) -> Generator[list[MicroBatch], None, None]:
        """Yield `step(start)`, …, `step(stop - 1)`."""
        if not self.stage.loader_threads and not self.stage.loader_workers:
            yield from map(self.step, range(start, stop))
            return
        with ExitStack() as held:
            submit, ahead = self._pool(held)
            waiting: deque[Future[Any]] = deque()
            for step in range(start, stop):
                waiting.append(submit(step))
                if len(waiting) > ahead:
                    yield _received(waiting.popleft())
            while waiting:
                yield _received(waiting.popleft())

    def _pool(self, held: ExitStack) -> tuple[Callable[[int], Future[Any]], int]:
        """Create a pool that prepares steps ahead, and the number that may be ready; the pool ends with `held`."""
        workers = self.stage.loader_workers
        if workers:
            source = pickled_source(self)
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (source,))
            held.callback(pool.shutdown, wait=True, cancel_futures=True)
            return partial(pool.submit, _pickled_step), 2 * workers
        threads = ThreadPoolExecutor(self.stage.loader_threads, thread_name_prefix=f"load-{self.stage.name}")
        held.callback(threads.shutdown, wait=True, cancel_futures=True)
        return partial(threads.submit, self.step), 2 * self.stage.loader_threads

    def example(self, index: int) -> Any:
        """Return example `index`; raises TrainingError if it could not be built."""
        try:
            return self.examples[index]
        except Exception as error:
            raise TrainingError(f"example {index} could not be built: {error!r}") from error

    def _collate(self, examples: list[Any], indices: list[int]) -> Any:
        try:
            return self.stage.collate(examples)
        except Exception as error:
            shown = ", ".join(map(str, indices[:8])) + (", …" if len(indices) > 8 else "")
            raise TrainingError(f"examples {shown} do not collate: {error!r}") from error


def pickled_source(source: BatchSource) -> bytes:
    """Pickle the data of a worker: the examples and their collate function, without the rest of the stage.

    Raises:
        TrainingError: something that cannot be pickled, a model, or a collate function with tensors of more than 1 MB.
    """
    whole = source.stage
    stage = Stage(
        name=whole.name,
        objective=_no_objective,
        examples=[None],
        collate=whole.collate,
        steps=whole.steps,
        batch_size=whole.batch_size,
        accumulate=whole.accumulate,
    )
    try:
        _pickled(whole.collate, f"the collate function of stage {whole.name!r}", most_bytes=_MOST_TENSOR_BYTES)
        return _pickled(replace(source, stage=stage), f"the examples of stage {whole.name!r}")
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TrainingError(
            f"the examples or the collate function of stage {source.stage.name!r} cannot be sent to worker processes "
            f"({error}); use module-level functions and plain data, or set loader_workers=0"
        ) from error


class _WeightlessPickler(pickle.Pickler):
    """Pickle data but reject weights, by type instead of size: a tokenizer may be larger than a small model."""

    def __init__(self, file: io.BytesIO, what: str, most_bytes: int | None) -> None:
        super().__init__(file)
        self._what, self._most_bytes, self._bytes = what, most_bytes, 0

    def reducer_override(self, obj: Any) -> Any:
        """Check `obj`, which is then pickled as usual."""
        if isinstance(obj, torch.nn.Module):
            raise TrainingError(
                f"a model ({type(obj).__name__}) in {self._what} would be copied to every worker process; hold its "
                "Processor there instead, or set loader_workers=0"
            )
        if isinstance(obj, torch.Tensor):
            self._bytes += obj.numel() * obj.element_size()
            if self._most_bytes is not None and self._bytes > self._most_bytes:
                raise TrainingError(
                    f"tensors of {self._bytes:,} bytes in {self._what}, expected at most {self._most_bytes:,}; put them "
                    "into the examples, or set loader_workers=0"
                )
        return NotImplemented


def _pickled(value: Any, what: str, *, most_bytes: int | None = None) -> bytes:
    buffer = io.BytesIO()
    _WeightlessPickler(buffer, what, most_bytes).dump(value)
    return buffer.getvalue()


def _no_objective(model: Any, batch: Any) -> dict[str, Any]:
    raise TrainingError("a worker that prepares batches computes no loss")


_SOURCE: list[BatchSource] = []  # of a worker process


def _begin_worker(source: bytes) -> None:
    torch.set_num_threads(1)  # the processes share the cores
    _SOURCE[:] = [pickle.loads(source)]  # noqa: S301  # written by our parent process


def _pickled_step(step: int) -> bytes:
    return pickle.dumps(_SOURCE[0].step(step))  # as bytes: tensors in shared memory would be freed with their worker


def _received(future: Future[Any]) -> list[MicroBatch]:
    """Return the batches of a step from a thread or a worker."""
    try:
        made = future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a worker process that prepares batches ended (out of memory, or a script without `if __name__ == "
            '"__main__":`?); set a smaller loader_workers, or 0 (workers=0 of a recipe)'
        ) from error
    return pickle.loads(made) if isinstance(made, bytes) else made  # noqa: S301  # written by our own worker
