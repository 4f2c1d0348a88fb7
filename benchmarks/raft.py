"""Benchmark of RAFT over consecutive frames, with and without shared features: ``python -m benchmarks.raft``.

Random weights at full size, 20 pairs at 224 x 224; both variants in turn in one run, so that their ratio is stable on a busy
machine. Operation counts bound the gain of sharing. Memory: the peak must not grow with the number of pairs
beyond their flow. Prints JSON; exit 1 if a criterion fails.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vidweave.nn.raft import Raft

SLACK_BYTES = 64 * 2**20


def pairwise(raft: Raft, frames: Tensor, iterations: int) -> Tensor:
    """Estimate the flow of each pair in a separate call, like code that passes two batches of frames to RAFT."""
    pairs = [raft(frames[i : i + 2], iterations=iterations) for i in range(len(frames) - 1)]
    return torch.cat(pairs)


def flops(iterations: int, pairs: int, side: int) -> dict[str, float]:
    """Count the operations (2 per multiply-add) of both variants on the meta device."""
    with torch.device("meta"):
        raft = Raft().eval().requires_grad_(False)
        frames = torch.zeros(2, 3, side, side)
    counted = {}
    for name, work in {
        "pair": lambda: raft(frames, iterations=iterations),
        "frame": lambda: raft.fnet(frames[:1]),
    }.items():
        with FlopCounterMode(display=False) as counter:
            work()
        counted[name] = float(counter.get_total_flops())
    shared = pairs * counted["pair"] - (pairs - 1) * counted["frame"]
    return {"pairwise": pairs * counted["pair"], "shared": shared, "most_gain": pairs * counted["pair"] / shared}


def peak_bytes() -> int:
    """Peak resident memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.no_grad()
def measure(pairs: int, side: int, iterations: int, chunk: int, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    raft = Raft().eval()
    frames = torch.randint(0, 256, (pairs + 1, 3, side, side), dtype=torch.uint8)
    few = max(2, min(2 * chunk, pairs // 2))
    raft(frames[: few + 1], iterations=iterations, chunk=chunk)  # warms up, and sets the peak of few pairs
    before = peak_bytes()
    seconds: dict[str, list[float]] = {"shared": [], "pairwise": []}
    variants = {
        "shared": lambda: raft(frames, iterations=iterations, chunk=chunk),
        "pairwise": lambda: pairwise(raft, frames, iterations),
    }
    growth, differs = 0, 0.0
    for _ in range(repeats):
        flow = {}
        for name, work in variants.items():
            start = time.perf_counter()
            flow[name] = work()
            seconds[name].append(time.perf_counter() - start)
            if name == "shared":
                growth = max(growth, peak_bytes() - before)
        differs = max(differs, float((flow["shared"] - flow["pairwise"]).abs().max()))
    gains = [one / other for one, other in zip(seconds["pairwise"], seconds["shared"], strict=True)]
    per_pair = {name: statistics.median(values) / pairs for name, values in seconds.items()}
    flow_bytes = pairs * 2 * side * side * 4
    bound = flops(iterations, pairs, side)
    return {
        "pairs": pairs,
        "side": side,
        "iterations": iterations,
        "chunk": chunk,
        "seconds_per_pair": per_pair,
        "gain": statistics.median(gains),
        "most_gain_by_operations": bound["most_gain"],
        "gflop_per_second": {name: bound[name] / pairs / value / 1e9 for name, value in per_pair.items()},
        "largest_difference_pixels": differs,
        "growth_bytes": growth,
        "flow_bytes": flow_bytes,
        "criteria": [
            {
                "name": "sharing is faster",
                "value": statistics.median(gains),
                "threshold": 1.0,
                "ok": statistics.median(gains) > 1.0,
            },
            {
                "name": "memory grows by the flow alone",
                "value": growth,
                "threshold": 2 * flow_bytes + SLACK_BYTES,
                "ok": growth <= 2 * flow_bytes + SLACK_BYTES,
            },
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = {
        "benchmark": "raft",
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        **measure(args.pairs, args.side, args.iterations, args.chunk, args.repeats),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")
    return 0 if all(criterion["ok"] for criterion in result["criteria"]) else 1


if __name__ == "__main__":
    sys.exit(main())
