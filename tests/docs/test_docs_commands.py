"""Every documented command, run by the installed console script from a folder that is not the repository.

The repository itself is on no path: what a page shows must work for somebody who only installed the package. Calls run
one after the other in a process each group, through the script's own file, since most of a call is imports.
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documented import documented, placed
from readme import ROOT

from tests.unit.evaluation.evaluation_predictions import made_predictions
from vidweave.evaluation.predictions import PredictionFile

SCRIPT = Path(sys.executable).with_name("vidweave")
HARNESS = """
import contextlib, io, json, runpy, sys

script = sys.argv[1]
for words in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), None
    sys.argv = [script, *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as left:
            code = left.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
# Words of calls that need what no repository holds: released weights, a user's own data, a server, a device.
ELSEWHERE = (
    "Salesforce/",
    "google/",
    "/data/",
    "./",
    "FOLDER",
    "MODEL",
    "llama",
    "run.jsonl",
    "breakfast",
    "val.csv",
    "media=",
    "part1.jsonl",
    ".pth",
    ".pt",
    ".ckpt",
)
# These train, start workers, make questions for a minute or wait for a server; each has tests of its own.
LONG = (
    "train tiny",
    "train finetune",
    "contra4 generate contra4/published",
    "contra4 generate contra4/toy",
    "contra4 evaluate --split val.json.gz --model llama",
)
# Cheap enough for every run of the suite: they import no model.
CHEAP = (
    "models list",
    "contra4 stats",
    "contra4 croissant",
    "contra4 doctor",
    "compare",
    "contra4 evaluate --split val.json.gz --model MODEL",
)


def _needs_elsewhere(words: list[str]) -> bool:
    return any(mark in word for word in words for mark in ELSEWHERE)


def _is(words: list[str], kinds: tuple[str, ...]) -> bool:
    return any(shlex.join(words).startswith(kind) for kind in kinds)


def _cheap(words: list[str]) -> bool:
    return _is(words, CHEAP) or (words[0] in ("ask", "explain") and _needs_elsewhere(words) and "cuda" not in words)


CALLS = [words for words in documented() if not _is(words, LONG)]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder with what pages call clip.mp4, val.json and so on, and the repository on no path."""
    shutil.copy(ROOT / "examples" / "clips" / "toy.mp4", tmp_path / "clip.mp4")
    packed = ROOT / "tests" / "data" / "contra4" / "val.json.gz"
    shutil.copy(packed, tmp_path / "val.json.gz")
    (tmp_path / "val.json").write_bytes(gzip.decompress(packed.read_bytes()))
    for name in ("my.jsonl", "questions.jsonl"):
        row = {"video": "clip.mp4", "question": "Which color?", "options": ["red", "blue"], "answer": "red"}
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    row = {"video": "clip.mp4", "question": "When does it move?", "start": 0.5, "end": 1}
    (tmp_path / "spans.jsonl").write_text(json.dumps(row) + "\n")
    for seed, name in enumerate(("a.jsonl", "b.jsonl", "c.jsonl")):
        with PredictionFile(tmp_path / name, {"model": {"model": name}}) as file:
            file.add(made_predictions(30, 0.5 + seed / 10, seed=seed))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def _run(calls: list[list[str]], folder: Path, seconds: float) -> list[tuple[list[str], int, str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(SCRIPT)],
        input=json.dumps([placed(words) for words in calls]),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=folder,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return [(words, *json.loads(line)) for words, line in zip(calls, done.stdout.splitlines(), strict=True)]


def _check(words: list[str], code: int, out: str, err: str) -> None:
    where = (shlex.join(words), code, err)
    assert "Traceback" not in err, where
    assert "unexpected" not in err, where
    assert "No module named" not in err, where
    if not _needs_elsewhere(words):
        assert code == 0, where
        assert out, where
    elif code:
        assert code in (1, 2), where
        assert out or err.splitlines()[-1].startswith("error: "), where
        assert sum(line.startswith("error: ") for line in err.splitlines()) <= 1, where


def test_documented_commands_that_load_no_model(elsewhere):
    calls = [words for words in CALLS if _cheap(words)]
    assert len(calls) >= 11
    for done in _run(calls, elsewhere, 100):
        _check(*done)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_documented_commands_that_load_models(elsewhere):
    calls = [words for words in CALLS if not _cheap(words)]
    made = _run([["toyworld", "make", "--seed", "5", "--clips", "1", "--out", "own"]], elsewhere, 100)
    assert made[0][1] == 0
    for file in (elsewhere / "own").glob("clip_0000*"):  # clip.mp4, clip.wav, clip_depth.npy and what stands beside it
        shutil.copy(file, elsewhere / file.name.replace("clip_0000", "clip"))
    for done in _run(calls, elsewhere, 850):
        _check(*done)


def test_the_script_itself_runs_from_anywhere(elsewhere):
    """Without the harness: the shell's own way."""
    done = subprocess.run([SCRIPT, "models", "list"], capture_output=True, text=True, cwd=elsewhere, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny-base" in done.stdout
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.quote(str(SCRIPT))} models list | head -c 1"],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        check=False,
    )
    assert (piped.stdout, piped.stderr) == ("n", "")
    full = subprocess.run(
        ["bash", "-c", f"{shlex.quote(str(SCRIPT))} models list > /dev/full"],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        check=False,
    )
    assert full.returncode == 1
    assert full.stderr.startswith("error: ")
    assert full.stderr.count("\n") == 1
