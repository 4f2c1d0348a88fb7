"""The shipped model of all modalities, from files alone: what is heard, and what takes two modalities at once."""

from __future__ import annotations

import json

import pytest

import vidweave
from vidweave.cli.main import run
from vidweave.toyworld.files import write_toyworld

MODALITIES = ("video", "audio", "depth")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = write_toyworld(tmp_path_factory.mktemp("crema") / "world", 31, 4, modalities=MODALITIES).folder
    return folder, [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def asked(world, question_type):
    return next(line for line in world[1] if line["question_type"] == question_type)


def test_the_command_line_reports_the_share_of_each_modality(world, capsys):
    folder, line = world[0], asked(world, "beeps")
    words = [word for option in line["options"] for word in ("--option", option)]
    files = [f"--audio={folder / line['paths']['audio']}", f"--depth={folder / line['paths']['depth']}"]
    code = run(["ask", str(folder / line["clip"]), line["question"], *words, *files, "--model", "tiny-crema", "--json"])
    reply = capsys.readouterr()
    assert (code, reply.err) == (0, "")
    data = json.loads(reply.out)
    assert data["text"] == line["answer"]
    assert data["trace"]["tokens"]["video"] == 16
    (gates,) = data["trace"]["panels"]["gates"]
    assert set(gates["share"]) == {"audio", "depth"}


def test_which_is_nearer_takes_colours_and_distances(world):
    model, folder = vidweave.load("tiny-crema"), world[0]
    right = []
    for line in world[1]:
        if line["question_type"] in ("nearer", "distance", "pitch"):
            clip = vidweave.Clip(**{modality: folder / line["paths"][modality] for modality in MODALITIES})
            right.append(model.ask(clip, line["question"], options=line["options"]).text == line["answer"])
    assert len(right) >= 8
    assert sum(right) >= len(right) - 1
