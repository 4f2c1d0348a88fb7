"""One line for what is wrong with the files of a data set, before a model is loaded."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vidweave
from vidweave.cli.main import run
from vidweave.data import found_media
from vidweave.data.found_media import describe_found
from vidweave.media.write import write_video
from vidweave.types import Answer, Frames

STAR = {"video": "abc", "qid": "T_1", "num_option": 2, "a0": "x", "a1": "y", "answer": 0, "question": "q"}


@pytest.fixture
def model(monkeypatch):
    class First:
        def answer(self, queries, **decoding):
            return [Answer(query.options[0]) for query in queries]

        def describe(self):
            return {"model": "first"}

    loads = []
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: loads.append(name) or First())
    return loads


@pytest.fixture
def star(tmp_path):
    """A STAR file with rows of STAR and a folder of media, which is empty."""
    (tmp_path / "media").mkdir()

    def write(*rows, name="star_val.json"):
        (tmp_path / name).write_text(json.dumps([{**STAR, **row} for row in rows]))
        return ["star", f"data={tmp_path / name}", f"media={tmp_path / 'media'}"]

    return write


def refused(capsys, words):
    assert run(["evaluate", *words]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"start": "NaN", "end": "NaN"},
            "with 0 <= start < end, got nan and nan; correct the row, or omit start and end",
        ),
        ({"start": 4, "end": float("nan")}, "got 4.0 and nan"),
        ({"start": 9, "end": 4}, "got 9.0 and 4.0"),
        ({"answer": ""}, "answer is empty, expected 0 to 1"),
        ({"answer": 2}, "answer is 2, expected 0 to 1"),
        ({"answer": -1}, "answer is -1, expected 0 to 1"),
        ({"answer": "x"}, "answer is x, expected 0 to 1"),
        ({"a1": ""}, "option 2 is empty"),
    ],
)
def test_rows_that_cannot_be_used(row, message, star, model, capsys):
    error = refused(capsys, star({}, row))
    assert "star_val.json, object 1, cannot be read" in error
    assert message in error
    assert not model


def test_options_that_repeat(star, model, tmp_path, capsys):
    """Published sets hold such rows, where the position decides; in your own files they are a mistake."""
    (tmp_path / "media" / "abc.mp4").write_bytes(b"never opened")
    assert run(["evaluate", *star({"a1": "x", "answer": 1}), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overall"]["num_items"] == 1
    row = {"video": "media/abc.mp4", "question": "q", "options": ["x", "y", "x "], "answer": "y"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    error = refused(capsys, [str(tmp_path / "own.jsonl")])
    assert "own.jsonl:1, cannot be read (options repeat: 'x'; give each option once)" in error


def test_media_of_another_layout_are_named(star, model, tmp_path, capsys):
    words = star({})
    media = tmp_path / "media"
    assert f"{media} is empty" in refused(capsys, words)
    (media / "part1" / "deep").mkdir(parents=True)
    (media / "part1" / "deep" / "abc.mp4").write_bytes(b"never opened")
    error = refused(capsys, words)
    assert f"no file of video for 'abc' in {media} (expected FOLDER/abc.mp4, FOLDER/abc.mkv" in error
    assert f"found part1/deep/abc.mp4 in {media}, so give media={media / 'part1' / 'deep'}" in error
    assert run(["evaluate", *words[:2], f"media={media / 'part1' / 'deep'}"]) == 0
    capsys.readouterr()
    for name in ("one.mp4", "two.mp4", "xyz.mp4"):
        (media / name).write_bytes(b"")
    assert f"{media} has one.mp4, part1/, two.mp4, …" in refused(capsys, star({"video": "other"}))
    assert "/nowhere does not exist" in refused(capsys, [*words[:2], "media=/nowhere"])
    assert not model[1:]


def test_media_below_their_folders(tmp_path, monkeypatch):
    (tmp_path / "x" / "1164").mkdir(parents=True)
    (tmp_path / "x" / "1164" / "77.mp4").write_bytes(b"")
    assert describe_found([tmp_path], "1164/77").endswith(f", so give media={tmp_path / 'x'}")
    assert describe_found([tmp_path], "99/77") == f"found x/1164/77.mp4 in {tmp_path}"
    assert describe_found([tmp_path / "x" / "1164" / "77.mp4"], "77").endswith("is a file, not a folder")
    monkeypatch.setattr(found_media, "MOST_ENTRIES", 1)
    assert describe_found([tmp_path], "1164/77") == f"{tmp_path} has x/"


def test_a_missing_file_of_your_own_row(tmp_path, model, capsys):
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "a.mp4", Frames.from_array(np.zeros((4, 32, 32, 3), np.uint8), fps=4))
    (tmp_path / "own.jsonl").write_text(json.dumps({"video": "a.mp4", "question": "q", "answer": "y"}))
    error = refused(capsys, [str(tmp_path / "own.jsonl")])
    assert (
        f"no file for 'a.mp4' in {tmp_path}; found clips/a.mp4 in {tmp_path}, so give media={tmp_path / 'clips'}"
        in error
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [("star_val.json", ""), ("STAR_train.json", "train"), ("star-test.json", "test"), ("rows.json", "")],
)
def test_another_split_than_the_published_one_is_noted(name, split, star, model, tmp_path, capsys):
    (tmp_path / "media" / "abc.mp4").write_bytes(b"never opened")
    assert run(["evaluate", *star({}, name=name), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    expected = [f"{name} is named like the split {split}; published numbers are about val"] if split else []
    assert notes == expected
