"""Benchmark of motion: ``python -m benchmarks.motion [--json FILE] [--hour]``.

Motion vectors and frame differences per minute of video, and RAFT per pair of frames, measured in turns in one process; with
`--hour`, the selection of 8 frames from a clip of one hour, in a separate process with monitored memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from vidweave.media.motion import read_motion
from vidweave.media.video import VideoReader
from vidweave.nn.raft import Raft
from vidweave.types import MotionSpec

HEIGHT, WIDTH, FPS = 360, 640, 30
MOTION_FPS, GRID = 2.0, 14
PAIRS, SIDE, ITERATIONS = 20, 224, 20
RAFT_FLOP = 118.6e9  # per pair at 224 pixels and 20 iterations, counted on the original's module
LEAST_RATIO = 100.0


def write_clip(path: Path, seconds: float, *, height: int = HEIGHT, width: int = WIDTH, fps: int = FPS) -> Path:
    """Write a textured scene with a few moving blocks; frames are generated and encoded one at a time."""
    rng = np.random.default_rng(0)
    ground = rng.integers(30, 90, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    blocks = rng.integers(90, 255, (4, height // 4, height // 4, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * fps)):
            image = ground.copy()
            for i, block in enumerate(blocks):
                phase = number / fps * (0.4 + 0.2 * i) + i
                x = round((width - block.shape[1]) * (0.5 + 0.5 * np.sin(phase)))
                y = round((height - block.shape[0]) * i / 4)
                image[y : y + block.shape[0], x : x + block.shape[1]] = block
            frame = av.VideoFrame.from_ndarray(image[:height, :width], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def costs(clip: Path, minutes: float, rounds: int, pairs: int = PAIRS) -> dict[str, Any]:
    """Measure CPU seconds on one thread, medians of `rounds` turns."""
    torch.manual_seed(0)
    raft = Raft().eval()
    frames = torch.randint(0, 255, (pairs + 1, 3, SIDE, SIDE), dtype=torch.uint8)
    times: dict[str, list[float]] = {"motion_vectors": [], "frame_differences": [], "raft": [], "decode": []}
    for _ in range(rounds):
        for source in ("motion_vectors", "frame_differences"):
            spec = MotionSpec(source=source, fps=MOTION_FPS, height=GRID, width=GRID)  # type: ignore[arg-type]
            with VideoReader(clip) as reader:
                times[source].append(cpu_seconds(lambda reader=reader, spec=spec: read_motion(reader, spec)))
        times["decode"].append(cpu_seconds(lambda: _decode(clip)))
        with torch.no_grad():
            times["raft"].append(cpu_seconds(lambda: raft(frames, iterations=ITERATIONS, chunk=4)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    per_minute = {name: medians[name] / minutes for name in ("motion_vectors", "frame_differences", "decode")}
    per_pair = medians["raft"] / pairs
    raft_minute = per_pair * 60 * MOTION_FPS
    return {
        "clip": {"height": HEIGHT, "width": WIDTH, "fps": FPS, "minutes": minutes},
        "cpu_seconds_per_minute": {**per_minute, "raft": raft_minute},
        "raft_cpu_seconds_per_pair": per_pair,
        "raft_gflop_per_second": RAFT_FLOP / per_pair / 1e9,
        "frames_per_second": {name: 60 * FPS / per_minute[name] for name in per_minute},
        "times_cheaper_than_raft": {
            "motion_vectors": raft_minute / per_minute["motion_vectors"],
            "frame_differences": raft_minute / per_minute["frame_differences"],
            "motion_vectors_beyond_decoding": raft_minute
            / max(1e-3, per_minute["motion_vectors"] - per_minute["decode"]),
        },
        "bound": "motion vectors cannot be cheaper than decoding the clip, which is the row decode",
    }


def _decode(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


_SELECT = """
import json, sys, time
from vidweave import Query, load

def peak():  # in KiB; getrusage starts with the peak of the parent process
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))

model = load("tiny-videotgb").model
before = peak()
start, cpu = time.perf_counter(), time.process_time()
with model.processor.prepare(Query.about(sys.argv[1], "What moves left?")) as prepared:
    read = time.perf_counter() - start
    selection = model.select(prepared, k=8)
whole = time.perf_counter() - start
after = peak()
print(json.dumps({"seconds": whole, "cpu_seconds": time.process_time() - cpu, "reading_seconds": read,
    "bridge_seconds": whole - read, "peak_mib": after / 1024, "grown_mib": (after - before) / 1024,
    "selected_seconds": selection.seconds[0].tolist()}))
"""


def hour(folder: Path, seconds: float) -> dict[str, Any]:
    """Measure the selection of 8 frames from a long clip of small frames, in a fresh process."""
    clip = write_clip(folder / "hour.mp4", seconds, height=96, width=128, fps=10)
    done = subprocess.run([sys.executable, "-c", _SELECT, str(clip)], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    num_frames = seconds * 10
    return {**result, "clip_seconds": seconds, "all_frames_mib": num_frames * 96 * 128 * 3 / 2**20}


def main() -> int:
    """Run the benchmark; return 1 if motion vectors are not LEAST_RATIO times cheaper than RAFT."""
    parser = argparse.ArgumentParser("python -m benchmarks.motion", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip for the costs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of frames for RAFT")
    parser.add_argument(
        "--hour", type=float, nargs="?", const=3600.0, help="also select from a clip of this length in seconds"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", options.seconds)
        results = costs(clip, options.seconds / 60, options.rounds, options.pairs)
        if options.hour:
            results["long_clip"] = hour(Path(folder), options.hour)
    results["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if results["times_cheaper_than_raft"]["motion_vectors"] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
