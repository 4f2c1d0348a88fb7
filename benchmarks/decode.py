"""Benchmark of frame decoding: CPU seconds of the index reader, of sequential PyAV, and of other decoders.

    python -m benchmarks.decode --clips DIR [--counts 8,32,128] [--rounds 4] [--json FILE]

Every decoder opens the file and returns the same evenly spread frames as RGB. Rounds are interleaved, the best of
each counts. A decoder whose frames or colors differ from sequential PyAV on a clip is listed there but
not compared. Prints one JSON line per clip and count, then the criteria; exit 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from vidweave.media.plan import spread
from vidweave.media.video import VideoReader

Decoder = Callable[[Path, int], np.ndarray]

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".ts", ".gif", ".flv")
SEQUENTIAL, OURS = "pyav_sequential", "vidweave"
SEEK_CLIP, SEEK_COUNT = "scrambled_eggs_70s.mp4", 8
MAX_MEDIAN, MAX_RATIO, MIN_SPEEDUP = 1.1, 1.4, 2.0
MAX_DIFFERENCE = 4.0  # mean absolute difference of one frame, in 0..255: builds of FFmpeg round colors differently


def vidweave_decode(path: Path, count: int) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(spread(count, reader.num_frames)).values


def sequential_decode(path: Path, count: int) -> np.ndarray:
    """Decode from the start as in a simple loop: keep the requested frames, stop after the last one.

    The length comes from the header, as usual; without one, from a pass over the packets.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        total = stream.frames
        if not total:
            total = sum(1 for packet in container.demux(stream) if packet.size)
            container.seek(0)
        requested = spread(count, total).tolist()
        kept: dict[int, np.ndarray] = {}
        for i, frame in enumerate(container.decode(stream)):
            if i in requested:
                kept[i] = frame.to_ndarray(format="rgb24")
            if i == requested[-1]:
                break
    return np.stack([kept[i] for i in requested])


def torchcodec_decode(path: Path, count: int) -> np.ndarray:
    decoder = importlib.import_module("torchcodec.decoders").VideoDecoder(str(path), dimension_order="NHWC")
    return decoder.get_frames_at(spread(count, len(decoder)).tolist()).data.numpy()


def decord_decode(path: Path, count: int) -> np.ndarray:
    reader = importlib.import_module("decord").VideoReader(str(path))
    return reader.get_batch(spread(count, len(reader)).tolist()).asnumpy()


def opencv_decode(path: Path, count: int) -> np.ndarray:
    cv2 = importlib.import_module("cv2")
    capture = cv2.VideoCapture(str(path))
    requested = spread(count, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))).tolist()
    kept: dict[int, np.ndarray] = {}
    for i in range(requested[-1] + 1):
        if not capture.grab():
            break
        if i in requested:
            kept[i] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    return np.stack([kept[i] for i in requested])


PEERS: dict[str, tuple[str, Decoder]] = {
    "torchcodec": ("torchcodec.decoders", torchcodec_decode),
    "decord": ("decord", decord_decode),
    "opencv": ("cv2", opencv_decode),
}


def installed_decoders() -> tuple[dict[str, Decoder], list[str]]:
    """List the decoders that can be imported, and the names of the others."""
    decoders: dict[str, Decoder] = {SEQUENTIAL: sequential_decode, OURS: vidweave_decode}
    absent = []
    for name, (module, decode) in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
            decoders[name] = decode
        except (ImportError, OSError, RuntimeError):
            absent.append(name)
    return decoders, absent


def time_cpu(decode: Decoder, path: Path, count: int) -> float:
    """Measure user and system time of this process, with all its threads."""
    start = time.process_time()
    decode(path, count)
    return time.process_time() - start


def check(decoders: dict[str, Decoder], path: Path, count: int) -> dict[str, str]:
    """Report the decoders whose frames cannot be compared, with the reason; the reference is sequential PyAV."""
    expected = sequential_decode(path, count)
    wrong = {}
    for name, decode in decoders.items():
        try:
            got = decode(path, count)
        except Exception as error:  # noqa: BLE001 (any exception of another library is its result here)
            wrong[name] = f"fails: {type(error).__name__}"
            continue
        if got.shape != expected.shape:
            wrong[name] = f"shape {got.shape}, expected {expected.shape}"
            continue
        worst = max(float(np.abs(a.astype(np.int16) - b).mean()) for a, b in zip(got, expected, strict=True))
        if worst > (0.0 if name == OURS else MAX_DIFFERENCE):
            wrong[name] = f"other frames or colors (mean difference {worst:.1f} of 255)"
    return wrong


def measure(decoders: dict[str, Decoder], path: Path, count: int, rounds: int) -> dict[str, Any]:
    """Measure the best CPU seconds of every decoder on one clip, and the derived ratios."""
    wrong = check(decoders, path, count)
    running = {name: decode for name, decode in decoders.items() if not wrong.get(name, "").startswith("fails")}
    best = dict.fromkeys(running, float("inf"))
    for _ in range(rounds):
        for name, decode in running.items():
            best[name] = min(best[name], time_cpu(decode, path, count))
    peers = {name: seconds for name, seconds in best.items() if name != OURS and name not in wrong}
    fastest = min(peers, key=lambda name: peers[name])
    return {
        "clip": path.name,
        "count": count,
        "seconds": {name: round(seconds, 4) for name, seconds in best.items()},
        "not_compared": wrong,
        "best_peer": fastest,
        "ratio": round(best[OURS] / peers[fastest], 3),
        "speedup": round(best[SEQUENTIAL] / best[OURS], 3),
    }


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluate the criteria: name, value, threshold, ok."""
    ratios = [row["ratio"] for row in rows]
    wrong = [row["clip"] for row in rows if OURS in row["not_compared"]]
    criteria = [
        ("clips with wrong frames", len(wrong), 0, not wrong),
        (
            "median ratio to the best peer",
            statistics.median(ratios),
            MAX_MEDIAN,
            statistics.median(ratios) <= MAX_MEDIAN,
        ),
        ("worst ratio to the best peer", max(ratios), MAX_RATIO, max(ratios) <= MAX_RATIO),
    ]
    for row in rows:
        if (row["clip"], row["count"]) == (SEEK_CLIP, SEEK_COUNT):
            name = f"speed-up over sequential, {SEEK_COUNT} frames of {SEEK_CLIP}"
            criteria.append((name, row["speedup"], MIN_SPEEDUP, row["speedup"] >= MIN_SPEEDUP))
    return [{"name": n, "value": v, "threshold": t, "ok": ok} for n, v, t, ok in criteria]


def find_clips(folder: Path) -> list[Path]:
    return [folder] if folder.is_file() else sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare CPU seconds of frame decoding with other decoders.")
    parser.add_argument("--clips", type=Path, default=os.environ.get("VIDWEAVE_CLIPS"), help="folder, or one file")
    parser.add_argument("--counts", default="8,32,128", help="frames per clip, separated by commas")
    parser.add_argument("--rounds", type=int, default=4, help="interleaved rounds; the best counts")
    parser.add_argument("--json", type=Path, default=None, help="also write rows and criteria to this file")
    options = parser.parse_args(arguments)
    if options.clips is None or not Path(options.clips).exists():
        parser.error("give a folder of real clips with --clips, or in the variable VIDWEAVE_CLIPS")
    clips = find_clips(Path(options.clips))
    if not clips:
        parser.error(f"{options.clips} has no video files")
    decoders, absent = installed_decoders()
    print(f"decoders: {', '.join(decoders)}; absent: {', '.join(absent) or 'none'}", file=sys.stderr)
    rows = []
    for clip in clips:
        for count in map(int, options.counts.split(",")):
            rows.append(measure(decoders, clip, count, options.rounds))
            print(json.dumps(rows[-1]), flush=True)
    criteria = judge(rows)
    result = {"benchmark": "decode", "decoders": list(decoders), "absent": absent, "criteria": criteria}
    print(json.dumps(result))
    if options.json is not None:
        options.json.write_text(json.dumps({**result, "rows": rows}, indent=1))
    return 0 if all(criterion["ok"] for criterion in criteria) else 1


if __name__ == "__main__":
    sys.exit(main())
