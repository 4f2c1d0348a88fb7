"""Answer batches one after another or several at once, with a smaller batch size after running out of memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

from vidweave.errors import ConfigError

__all__ = ["BatchRunner", "is_out_of_memory"]

Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host ran out of memory."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch on the CPU


class BatchRunner(Generic[Result]):
    """Call a function on batches of positions, in order.

    A batch that does not fit into memory is halved and retried; later batches have at most the size that fitted.

    Args:
        call: Called with the positions of a batch, possibly from several threads.
        workers: Batches in flight. With 2, the media of the next batch are decoded while the model computes.

    Attributes:
        notes: A line for each reduction of the batch size.
    """

    def __init__(self, call: Callable[[list[int]], Result], *, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self._call, self._workers = call, workers
        self._limit: int | None = None
        self._lock = Lock()
        self.notes: list[str] = []

    def run(self, batches: Iterable[list[int]]) -> Iterator[Result]:
        """Yield the results of all batches in order; a batch that was halved yields several.

        Raises:
            ConfigError: One item alone does not fit into memory.
        """
        if self._workers == 1:
            for batch in batches:
                yield from self._results(batch)
            return
        waiting: deque[Future[list[Result]]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="answering")
        try:
            for batch in batches:
                waiting.append(pool.submit(lambda batch=batch: list(self._results(batch))))
                if len(waiting) >= self._workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _results(self, batch: list[int]) -> Iterator[Result]:
        pending = deque(self._split(batch))
        while pending:
            part = pending.popleft()
            if len(parts := self._split(part)) > 1:  # the limit was reduced in the meantime
                pending.extendleft(reversed(parts))
                continue
            result = self._try(part)
            if result is None:
                pending.appendleft(part)
            else:
                yield result

    def _try(self, part: list[int]) -> Result | None:
        """Return the result; after running out of memory, release the memory of the attempt and return None."""
        try:
            return self._call(part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0].partition(". ")[0]
        self._halve(len(part), reason)
        _release_memory()
        return None

    def _halve(self, size: int, reason: str) -> None:
        if size == 1:
            raise ConfigError(
                f"one question alone does not fit into memory ({reason}); use fewer frames (--frames), a smaller --dtype or "
                "a smaller model. What was answered is kept"
            )
        with self._lock:
            smaller = size // 2
            if self._limit is None or smaller < self._limit:
                self._limit = smaller
                self.notes.append(f"out of memory with {size} questions per batch; reduced to {smaller}")

    def _split(self, batch: Sequence[int]) -> list[list[int]]:
        size = len(batch) if self._limit is None else self._limit
        return [list(batch[start : start + size]) for start in range(0, len(batch), max(size, 1))]


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
