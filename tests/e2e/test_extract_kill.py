"""Extracting from a folder of thousands of clips, killed again and again: nothing is lost, nothing is made twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vidweave.media.write import write_video
from vidweave.types import Frames

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

CLIPS = 2_000
PICTURES = 3


def start(clips, out):
    command = [sys.executable, "-m", "vidweave", "extract", "frames", str(clips), "--out", str(out), "--workers", "2"]
    return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def lines_of(out):
    file = out / "manifest.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_folder_of_thousands_of_clips_survives_kills(tmp_path):
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    rng = np.random.default_rng(0)
    frames = Frames.from_array(rng.integers(0, 255, (PICTURES, 16, 16, 3), dtype=np.uint8), fps=5)
    first = write_video(clips / "clip_0000.mp4", frames, fps=5)
    for i in range(1, CLIPS):
        os.link(first, clips / f"clip_{i:04d}.mp4")

    made = {}  # clip → when its folder was made
    random.seed(1)
    for target in (30, 500, 1_100):
        process = start(clips, out)
        while process.poll() is None and lines_of(out) < target:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        whole = [json.loads(line) for line in (out / "manifest.jsonl").read_bytes().split(b"\n")[1:-1]]
        assert len(whole) >= target - 1
        for name in (line["clip"] for line in whole):
            changed = (out / name).stat().st_mtime_ns
            assert made.setdefault(name, changed) == changed, "made twice"

    process = start(clips, out)
    info = json.loads(process.communicate(timeout=300)[0])
    assert process.returncode == 0
    assert info["kept"] >= len(made)
    assert info["made"] + info["kept"] == CLIPS
    names = [json.loads(line)["clip"] for line in (out / "manifest.jsonl").read_text().splitlines()[1:]]
    assert sorted(names) == [f"clip_{i:04d}" for i in range(CLIPS)]
    for name in names:
        assert made.get(name) in (None, (out / name).stat().st_mtime_ns), "made twice"
        assert len(list((out / name).glob("*.jpg"))) == PICTURES
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".manifest.jsonl.lock"]
