"""The shipped model of long clips, through the command line and the example script: what came when, from files alone."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

import vidweave

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples" / "clips" / "toy_long.mp4"
# yellow ring, purple circle, red circle, white circle, green ring, blue ring


@pytest.mark.parametrize(
    ("question", "options", "answer"),
    [
        ("What colour is the first object?", ("yellow", "red", "blue", "green"), "yellow"),
        ("What colour is the last object?", ("purple", "blue", "white", "yellow"), "blue"),
        ("Which comes first, the white or the purple object?", ("white", "purple"), "purple"),
    ],
)
def test_knows_what_came_when(call, question, options, answer):
    chosen = [word for option in options for word in ("--option", option)]
    data = json.loads(call("ask", CLIP, question, *chosen, "--model", "tiny-malmm", "--json"))
    assert data["text"] == answer
    assert data["trace"]["tokens"]["video"] == 16
    assert len(data["trace"]["panels"]["memory"][0]["banks"]["visual"]["tokens"]) == 36


def test_a_stream_remembers_the_beginning_to_the_end():
    live, options = vidweave.load("tiny-malmm").stream(), ["yellow", "blue", "red", "green"]
    for start in (0.0, 12.5, 25.0):
        live.push(vidweave.Clip(CLIP, start_seconds=start, end_seconds=start + 12.5))
    assert live.segments == {"video": 102}  # a hundred frames in 37.5 s, as it was trained; each piece begins with one
    answer = live.ask("What colour is the first object?", options=options)
    assert answer.text == "yellow"
    assert answer.trace is not None
    assert answer.trace.panels["stream"]["exact"]


def test_explains_itself(call, tmp_path):
    out = tmp_path / "memory.html"
    call("explain", CLIP, "What colour is the first object?", "--model", "tiny-malmm", "--out", out)
    page = out.read_text(encoding="utf-8")
    assert "What the memory holds" in page
    assert "segments 0 to" in page
    assert (tmp_path / "memory.png").stat().st_size > 20_000


@pytest.mark.slow
def test_the_example_script_names_colours_that_have_appeared(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["long_video.py", "--beams", "1", "3"])
    runpy.run_path(str(ROOT / "examples" / "long_video.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "the whole clip" in lines
    assert any("What colour is the first object?  [1 beams]  yellow" in line for line in lines)
    assert sum("[3 beams]" in line for line in lines) == 6
    asked = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert asked == [[time, "s", "yellow"] for time in ("12.5", "25.0", "37.5")]  # the ring comes at 1.25 s


def test_the_stream_command_is_right_with_its_defaults(call):
    reply = call("stream", CLIP, "What colour is the first object?").splitlines()
    assert [line.split() for line in reply] == [[time, "s", "yellow"] for time in ("12.50", "25.00", "37.50")]
