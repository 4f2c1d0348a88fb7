"""Time of a run by part: decoding, encoding, answering, and bookkeeping."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from vidweave.types import Answer

__all__ = ["PARTS", "TimeSplit"]

# Stage of a Trace → part; a model's time outside of its stages is `other`
_STAGES = {
    "open": "decode",
    "select": "select",
    "decode": "decode",
    "look": "encode",
    "encode": "encode",
    "connect": "encode",
    "answer": "answer",
}
PARTS = ("examples", "hash", "select", "decode", "encode", "answer", "other", "bookkeeping")


class TimeSplit:
    """Seconds per part of a run, summed over threads.

    `examples` is the construction of examples (rendering, looking up files), `hash` the hashing of media files; `bookkeeping`
    is everything else around the model: wording, scoring and writing predictions.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._cpu_seconds = 0.0
        self._lock = Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a part."""
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.perf_counter() - start
                if name == "bookkeeping":
                    self._cpu_seconds += time.thread_time() - cpu

    def add_answers(self, answers: Sequence[Answer], seconds: float) -> None:
        """Add the wall time of a call, split by the stages in the traces; without traces, it counts as `answer`."""
        # Answers of one forward pass share their times
        passes = {tuple(a.trace.seconds.items()) for a in answers if a.trace is not None and a.trace.seconds}
        stages: dict[str, float] = {}
        for times in passes:
            for stage, value in times:
                part = _STAGES.get(stage, "other")
                stages[part] = stages.get(part, 0.0) + value
        rest = max(0.0, seconds - sum(stages.values()))
        with self._lock:
            for part, value in stages.items():
                self._seconds[part] += value
            self._seconds["other" if stages else "answer"] += rest

    def to_dict(self, num_answered: int) -> Mapping[str, Any]:
        """JSON data: seconds per part, and CPU milliseconds of bookkeeping per question that was answered in this run."""
        per_question = 1000 * self._cpu_seconds / num_answered if num_answered else None
        return {"seconds": dict(self._seconds), "bookkeeping_cpu_ms_per_question": per_question}
