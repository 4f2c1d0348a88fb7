"""The shipped model through the command line: it answers, offline, from files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLIP = Path(__file__).parents[2] / "examples" / "clips" / "toy.mp4"


def _vidweave(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vidweave", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.slow
def test_answers_about_the_example_clip():
    done = _vidweave("ask", CLIP, "What colour is the circle?", "--option", "red", "--option", "blue", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["text"] == "red"
    assert [option["text"] for option in data["options"]] == ["red", "blue"]
    assert data["options"][0]["score"] > data["options"][1]["score"]
    assert data["trace"]["frames"]
    assert all(0 <= frame["pts_seconds"] < 2 for frame in data["trace"]["frames"])
    assert data["trace"]["tokens"]["video"] > 0


@pytest.mark.slow
def test_writes_without_options():
    done = _vidweave("ask", CLIP, "What colour is the circle?")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "red"


@pytest.mark.slow
def test_the_example_script_runs():
    script = Path(__file__).parents[2] / "examples" / "ask.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("red")


@pytest.mark.slow
def test_fresh_clips_are_answered_and_swapped_clips_change_the_answers(tmp_path):
    """Files of unseen scenes, asked in one process through the same door as `ask`."""
    import vidweave
    from vidweave.toyworld.questions import question_types

    world = tmp_path / "w"
    assert _vidweave("toyworld", "make", "--seed", 4321, "--clips", 24, "--out", world).returncode == 0
    base = set(question_types(needs={"video"}, scope="short", encoder="general"))
    asked = [json.loads(line) for line in (world / "questions.jsonl").read_text().splitlines()]
    asked = [line for line in asked if line["question_type"] in base]
    clips = sorted({line["clip"] for line in asked})
    other = dict(zip(clips, [*clips[1:], clips[0]], strict=True))
    model = vidweave.load("tiny-base")
    right = swapped = 0
    for line in asked:
        right += model.ask(world / line["clip"], line["question"], options=line["options"]).text == line["answer"]
        swapped += (
            model.ask(world / other[line["clip"]], line["question"], options=line["options"]).text == line["answer"]
        )
    assert right / len(asked) >= 0.9
    assert swapped / len(asked) <= 0.6
