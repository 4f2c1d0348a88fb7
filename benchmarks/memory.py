"""Benchmark of a Q-Former's memory per frame, compared with the plain loop: ``python -m benchmarks.memory [--json FILE]``.

Times are in units of one matrix product, (2827, 1408) x (1408, 768), measured between the frames, so that they are
comparable across machines. The plain loop must have its known cost, else the run is void. Prints JSON with
`criteria` like the claims; exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

import vidweave
from benchmarks.plain_memory import PlainMemory, plain_step
from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormer, QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.connectors.saving import flatten
from vidweave.nn.bank import UndoLog
from vidweave.types import Features, Frames, TrunkInput

TOKENS, WORDS, QUERIES = 257, 12, 32
# length of the banks → maximum units of the plain loop, maximum units of ours, minimum gain, and the gain by operation counts
MOST_PLAIN = {10: 21.0, 20: 36.0}
MOST_UNITS = {10: 8.0, 20: 10.0}
LEAST_GAIN = {40: 5.0}
GOAL = {10: 4.0, 20: 7.0, 40: 10.0}
BOUND = {10: 5.8, 20: 9.5, 40: 14.8}
MOST_GROWTH = 2 * 2**20
MOST_SECOND = 0.10


class Clock:
    """Seconds in units of the matrix product, which is timed with every measurement."""

    def __init__(self) -> None:
        self._left, self._right = torch.randn(2827, 1408), torch.randn(1408, 768)
        self.unit_seconds: list[float] = []

    def __call__(self, work: Callable[[], Any]) -> float:
        """Time `work` in seconds, after one unit."""
        start = time.perf_counter()
        self._left @ self._right
        middle = time.perf_counter()
        self.unit_seconds.append(middle - start)
        work()
        return time.perf_counter() - middle

    def units(self, seconds: list[float]) -> float:
        """Convert to median seconds in median units."""
        return statistics.median(seconds) / statistics.median(self.unit_seconds)


def walk(num_frames: int) -> Tensor:
    """Generate frames (1, T, 257, 1408) that change slowly, like those of a video."""
    return torch.randn(1, 1, TOKENS, 1408) + 0.1 * torch.randn(1, num_frames, TOKENS, 1408).cumsum(1)


def full_plain_memory(qformer: QFormer, length: int, words: int) -> PlainMemory:
    """Fill the banks with random entries."""
    shapes = {"visual": (TOKENS, 1408)} | {
        f"layer.{n}": (QUERIES + words, qformer.width) for n in range(len(qformer.layers))
    }
    values = {name: torch.randn(1, length, *shape) for name, shape in shapes.items()}
    return PlainMemory(length, values, {name: torch.ones(1, length, shape[0]) for name, shape in shapes.items()})


def steps(length: int, rounds: int) -> dict[str, float]:
    """Measure units of a steady frame, ours and the plain loop's, interleaved; at paper size, batch 1."""
    torch.manual_seed(0)
    qformer = QFormerConfig(vocab_size=30523, memory=MemoryConfig(length=length)).build().eval()
    queries, text = torch.randn(1, QUERIES, 768), torch.randint(0, 30000, (1, WORDS))
    mask = torch.ones(1, WORDS, dtype=torch.bool)
    frames, clock = walk(length + rounds), Clock()
    inputs = TrunkInput(queries, frames, text=text, text_mask=mask)
    memory = qformer.commit(inputs.steps(slice(length)), qformer.empty_memory(inputs))
    plain = full_plain_memory(qformer, length, WORDS)
    ours, theirs = [], []
    for number in range(length, length + rounds):
        frame = frames[:, number]

        def step(frame: Tensor = frame) -> None:
            nonlocal memory
            with UndoLog() as undo_log:  # as a stream does
                memory = qformer.commit(inputs.with_keys(frame[:, None], None), memory, undo_log)

        ours.append(clock(step))
        theirs.append(clock(lambda frame=frame: plain_step(qformer, queries, frame, text, mask, plain, False)))
    units = {"ours": clock.units(ours), "plain": clock.units(theirs)}
    return {**units, "unit_ms": 1e3 * statistics.median(clock.unit_seconds), "state_bytes": state_bytes(memory)}


def prefill(length: int, num_frames: int) -> dict[str, float]:
    """Measure seconds of a whole clip in one call, and frame by frame."""
    torch.manual_seed(0)
    qformer = QFormerConfig(vocab_size=30523, memory=MemoryConfig(length=length)).build().eval()
    queries, text = torch.randn(1, QUERIES, 768), torch.randint(0, 30000, (1, WORDS))
    mask, frames = torch.ones(1, WORDS, dtype=torch.bool), walk(num_frames)

    def run(pieces: int) -> float:
        inputs = TrunkInput(queries, frames, text=text, text_mask=mask)
        memory = qformer.empty_memory(inputs)
        start = time.perf_counter()
        for part in frames.split(-(-num_frames // pieces), 1):
            with UndoLog() as undo_log:
                memory = qformer.commit(inputs.with_keys(part, None), memory, undo_log)
        return time.perf_counter() - start

    return {"at_once_seconds": run(1), "stepping_seconds": run(num_frames)}


def state_bytes(memory: Any) -> int:
    """Count the bytes of all tensors of a memory."""
    return sum(t.numel() * t.element_size() for t in flatten(memory)[1].values())


def expected_bytes(length: int, words: int = WORDS) -> int:
    """Compute the bytes by formula: entries, their keys and values, and bookkeeping, at paper size in float32."""

    def bank(tokens: int, width: int, pairs: int) -> int:
        slots = length + 1
        entries = 4 * slots * tokens * (width + pairs * 2 * 768)
        return entries + tokens * (slots * (4 + 8) + 8 + 4 * length)  # size, order; length; similarity

    return bank(TOKENS, 1408, 6) + 11 * bank(QUERIES + words, 768, 1) + 8


def growth(pushes: int) -> int:
    """Measure the growth of the process in bytes while a tiny connector reads `pushes` frames one by one, after a warm-up."""
    trunk = QFormerConfig(hidden=16, layers=2, heads=2, intermediate=16, encoder_width=8, memory=MemoryConfig(length=4))
    port = PortConfig(trunk="qformer", input_width=8, num_query_tokens=2)
    connector = ConnectorConfig(trunks={"qformer": trunk}, ports={"video": port}, output_width=6).build().eval()
    zero, process = torch.zeros(1, dtype=torch.long), psutil.Process()
    state, before = connector.begin(zero, zero), 0
    for number in range(pushes + pushes // 4):
        if number == pushes // 4:
            gc.collect()
            before = process.memory_info().rss
        seconds = torch.tensor([[[number, number + 1.0]]])
        frame = Features(torch.randn(1, 1, 3, 8), torch.ones(1, 1, 3, dtype=torch.bool), seconds, zero, zero)
        with UndoLog() as undo_log:
            state = connector.push(state, {"video": frame}, undo_log)
    gc.collect()
    return process.memory_info().rss - before


def second_question(name: str, num_frames: int, rounds: int) -> dict[str, float]:
    """Measure seconds from the frames of a clip to the answer, and from another question about the same clip to its answer.

    Medians of `rounds` clips, on one thread: a tiny model gains nothing from more, and waits for them on a busy machine.
    """
    model, threads = vidweave.load(name), torch.get_num_threads()
    torch.set_num_threads(1)
    options = ["red", "green", "blue", "white"]
    seconds = []
    for _ in range(rounds + 1):
        frames = Frames.from_array(torch.randint(0, 256, (num_frames, 48, 48, 3), dtype=torch.uint8).numpy(), fps=8)
        stream, start = model.stream(), time.perf_counter()
        stream.push(frames)
        stream.ask("What colour is the first object?", options=options)
        middle = time.perf_counter()
        stream.ask("What colour is the second object?", options=options)
        seconds.append((middle - start, time.perf_counter() - middle))
    torch.set_num_threads(threads)
    first, second = (statistics.median(times) for times in zip(*seconds[1:], strict=True))  # the first round warms up
    return {"first_seconds": first, "second_seconds": second}


def judge(
    measured: dict[int, dict[str, float]], clip: dict[str, float], grown: int, questions: dict[str, float]
) -> list[dict[str, Any]]:
    """Evaluate the criteria of a run."""
    criteria = []

    def at_most(name: str, value: float, threshold: float) -> None:
        criteria.append({"name": name, "value": value, "threshold": threshold, "ok": value <= threshold})

    for length, units in measured.items():
        if length in MOST_PLAIN:
            at_most(f"plain loop, M={length}, units (else void)", units["plain"], MOST_PLAIN[length])
        if length in MOST_UNITS:
            at_most(f"frame, M={length}, units", units["ours"], MOST_UNITS[length])
        gain, least = units["plain"] / units["ours"], LEAST_GAIN.get(length)
        if least is not None:
            criteria.append({"name": f"gain, M={length}", "value": gain, "threshold": least, "ok": gain >= least})
        wrong = abs(units["state_bytes"] - expected_bytes(length))
        at_most(f"state, M={length}, bytes beside the formula", wrong, 0)
    at_most("clip at once, share of stepping", clip["at_once_seconds"] / clip["stepping_seconds"], 1.0)
    at_most("growth of the process, bytes", grown, MOST_GROWTH)
    share = questions["second_seconds"] / questions["first_seconds"]
    at_most("second question, share of the first", share, MOST_SECOND)
    return criteria


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 20, 40], help="entries per bank (M)")
    parser.add_argument(
        "--rounds", type=int, default=9, help="number of timed steady frames, and of clips with two questions"
    )
    parser.add_argument("--clip", type=int, default=100, help="frames of the clip read in one call (M=20)")
    parser.add_argument("--pushes", type=int, default=20_000, help="frames pushed at tiny size")
    parser.add_argument("--model", default="tiny-malmm", help="model whose second question about a clip is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.no_grad():
        measured = {length: steps(length, arguments.rounds) for length in arguments.lengths}
        clip, grown = prefill(20, arguments.clip), growth(arguments.pushes)
        questions = second_question(arguments.model, arguments.clip, arguments.rounds)
    for length, units in measured.items():
        gain = units["plain"] / units["ours"]
        bounds = {"gain": gain, "goal": GOAL.get(length), "bound": BOUND.get(length)}
        units |= {**bounds, "share_of_bound": gain / BOUND[length] if length in BOUND else None}
    criteria = judge(measured, clip, grown, questions)
    machine = {"machine": platform.processor() or platform.machine(), "threads": arguments.threads}
    text = json.dumps(
        {
            **machine,
            "frames": measured,
            "clip": clip,
            "growth_bytes": grown,
            "questions": questions,
            "criteria": criteria,
        },
        indent=1,
    )
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(criterion["ok"] for criterion in criteria) else 1


if __name__ == "__main__":
    sys.exit(main())
