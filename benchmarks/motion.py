"""What motion costs: ``python -m benchmarks.motion [--json FILE] [--hour]``.

Motion vectors and frame differences per minute of video, and RAFT per pair of pictures, taken in turns in one process; with
`--hour`, the selection of 8 moments from a clip of one hour, in a process of its own whose memory is watched.
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
    """A textured scene in which a few blocks move: pictures are made and encoded one at a time."""
    rng = np.random.default_rng(0)
    ground = rng.integers(30, 90, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    blocks = rng.integers(90, 255, (4, height // 4, height // 4, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * fps)):
            picture = ground.copy()
            for i, block in enumerate(blocks):
                phase = number / fps * (0.4 + 0.2 * i) + i
                x = round((width - block.shape[1]) * (0.5 + 0.5 * np.sin(phase)))
                y = round((height - block.shape[0]) * i / 4)
                picture[y : y + block.shape[0], x : x + block.shape[1]] = block
            frame = av.VideoFrame.from_ndarray(picture[:height, :width], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def costs(clip: Path, minutes: float, rounds: int, pairs: int = PAIRS) -> dict[str, Any]:
    """CPU seconds on one thread, medians of `rounds` turns."""
    torch.manual_seed(0)
    raft = Raft().eval()
    pictures = torch.randint(0, 255, (pairs + 1, 3, SIDE, SIDE), dtype=torch.uint8)
    taken: dict[str, list[float]] = {"motion_vectors": [], "frame_differences": [], "raft": [], "decode": []}
    for _ in range(rounds):
        for source in ("motion_vectors", "frame_differences"):
            spec = MotionSpec(source=source, fps=MOTION_FPS, height=GRID, width=GRID)  # type: ignore[arg-type]
            with VideoReader(clip) as reader:
                taken[source].append(cpu_seconds(lambda reader=reader, spec=spec: read_motion(reader, spec)))
        taken["decode"].append(cpu_seconds(lambda: _decode(clip)))
        with torch.no_grad():
            taken["raft"].append(cpu_seconds(lambda: raft(pictures, iterations=ITERATIONS, chunk=4)))
    found = {name: statistics.median(times) for name, times in taken.items()}
    per_minute = {name: found[name] / minutes for name in ("motion_vectors", "frame_differences", "decode")}
    per_pair = found["raft"] / pairs
    raft_minute = per_pair * 60 * MOTION_FPS
    return {
        "clip": {"height": HEIGHT, "width": WIDTH, "fps": FPS, "minutes": minutes},
        "cpu_seconds_per_minute": {**per_minute, "raft": raft_minute},
        "raft_cpu_seconds_per_pair": per_pair,
        "raft_gflop_per_second": RAFT_FLOP / per_pair / 1e9,
        "pictures_per_second": {name: 60 * FPS / per_minute[name] for name in per_minute},
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

def peak():  # in KiB; what getrusage tells begins with the peak of the process that forked
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))

model = load("tiny-videotgb").model
before = peak()
start, cpu = time.perf_counter(), time.process_time()
with model.processor.prepare(Query.about(sys.argv[1], "What moves left?")) as prepared:
    read = time.perf_counter() - start
    chosen = model.select(prepared, k=8)
whole = time.perf_counter() - start
after = peak()
print(json.dumps({"seconds": whole, "cpu_seconds": time.process_time() - cpu, "reading_seconds": read,
    "bridge_seconds": whole - read, "peak_mib": after / 1024, "grown_mib": (after - before) / 1024,
    "moments": chosen.seconds[0].tolist()}))
"""


def hour(folder: Path, seconds: float) -> dict[str, Any]:
    """Selection of 8 moments from a long clip of small pictures, in a fresh process."""
    clip = write_clip(folder / "hour.mp4", seconds, height=96, width=128, fps=10)
    done = subprocess.run([sys.executable, "-c", _SELECT, str(clip)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    pictures = seconds * 10
    return {**found, "clip_seconds": seconds, "all_pictures_mib": pictures * 96 * 128 * 3 / 2**20}


def main() -> int:
    """1 if motion vectors are not LEAST_RATIO times cheaper than RAFT."""
    parser = argparse.ArgumentParser("python -m benchmarks.motion", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip for the costs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of pictures that RAFT compares")
    parser.add_argument(
        "--hour", type=float, nargs="?", const=3600.0, help="also select from a clip of so many seconds"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", options.seconds)
        found = costs(clip, options.seconds / 60, options.rounds, options.pairs)
        if options.hour:
            found["long_clip"] = hour(Path(folder), options.hour)
    found["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if found["times_cheaper_than_raft"]["motion_vectors"] >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
