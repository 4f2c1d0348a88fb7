"""Benchmark of the toy world's rendering on one core: ``python -m benchmarks.toyworld [--json FILE]``.

Prints JSON with `criteria` like the claims; exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidweave.toyworld.labels import dense_labels
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import RENDERERS, render
from vidweave.toyworld.scene import sample_scene

LEAST_CLIPS_PER_SECOND = 300


def measure(work: Callable[[int], Any], clips: int, rounds: int = 4) -> float:
    """Measure clips per second, best of `rounds`, each on its own scenes, in CPU time of this process."""
    best = 0.0
    for i in range(rounds):
        start = time.process_time()
        for seed in range(i * clips, (i + 1) * clips):
            work(seed)
        best = max(best, clips / (time.process_time() - start))
    return round(best, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=400, help="clips per round")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    works: dict[str, Callable[[int], Any]] = {
        name: lambda seed, name=name: render(sample_scene(seed), name) for name in RENDERERS
    }
    works["labels"] = lambda seed: dense_labels(sample_scene(seed))
    works["questions"] = lambda seed: questions(sample_scene(seed))
    rates = {name: measure(work, arguments.clips) for name, work in works.items()}
    value = rates["video"]
    name = "16-frame 48x48 RGB clips per second and core"
    criterion = {
        "name": name,
        "value": value,
        "threshold": LEAST_CLIPS_PER_SECOND,
        "ok": value >= LEAST_CLIPS_PER_SECOND,
    }
    result = {"machine": platform.processor() or platform.machine(), "clips_per_second": rates, "criteria": [criterion]}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if criterion["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
