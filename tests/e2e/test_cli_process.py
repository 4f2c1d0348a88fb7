"""The command as a shell sees it: streams, exit codes, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def _vidweave(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vidweave", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("world") / "w"
    done = _vidweave("toyworld", "make", "--seed", 11, "--clips", 2, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_inspect_is_json_on_stdout_alone(world):
    done = _vidweave("inspect", world / "clip_0000.mp4", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["duration_seconds"] == pytest.approx(2.0, abs=0.01)
    assert data["streams"][0]["num_frames"] == 16


def _bad_files(folder: Path, good: Path) -> dict[str, tuple[Path, str]]:
    data = good.read_bytes()
    bad = {name: folder / f"{name}.mp4" for name in ("empty", "text", "truncated", "playlist")}
    bad["empty"].write_bytes(b"")
    bad["text"].write_text("not a video at all\n" * 40)
    bad["truncated"].write_bytes(data[: len(data) // 3])
    bad["playlist"].write_text("#EXTM3U\n#EXTINF:2,\n/etc/passwd\n")
    return {
        "missing": (folder / "missing.mp4", "does not exist"),
        "directory": (folder, "has no image files"),
        "empty": (bad["empty"], "is empty"),
        "text": (bad["text"], "cannot be decoded"),
        "truncated": (bad["truncated"], "cannot be decoded"),
        "playlist": (bad["playlist"], "is a playlist, which names other files"),
        "device": (Path("/dev/null"), "/dev/null"),
        "sound": (good.with_suffix(".wav"), "--audio"),
    }


def test_bad_files_are_one_line_and_two(world, tmp_path):
    """Every file fails before a model is loaded, so the whole table takes little time."""
    for name, (path, complaint) in _bad_files(tmp_path, world / "clip_0000.mp4").items():
        done = _vidweave("ask", path, "What colour is the circle?")
        assert done.returncode == 2, f"{name}: {done}"
        assert done.stdout == ""
        assert done.stderr.startswith("error: "), name
        assert done.stderr.count("\n") == 1, name
        assert complaint in done.stderr.replace("\\", ""), f"{name}: {done.stderr}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_one_line_and_two(world, tmp_path):
    path = tmp_path / "locked.mp4"
    path.write_bytes((world / "clip_0000.mp4").read_bytes())
    path.chmod(0)
    done = _vidweave("ask", path, "What?")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_closed_pipe_is_no_traceback(world):
    command = f"{sys.executable} -m vidweave inspect {world / 'clip_0000.mp4'} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def _hear_interrupts():
    """A shell starts background jobs deaf to SIGINT, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_an_interrupt_is_130_and_leaves_nothing(tmp_path):
    out = tmp_path / "w"
    command = [sys.executable, "-m", "vidweave", "toyworld", "make", "--clips", "5000", "--out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_interrupts
    ) as process:
        deadline = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            out_text, err_text = process.communicate(timeout=60)
        finally:
            process.kill()  # one that goes on would be waited for, and blamed on the next test
    assert process.returncode == 130
    assert (out_text, err_text) == ("", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []
