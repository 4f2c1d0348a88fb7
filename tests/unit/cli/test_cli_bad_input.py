"""Every command with everything that can be wrong about its files: exit code 2 and one line on stderr."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import typer

from vidweave.cli.app import app

# What each command is called with; FILE is the bad file, and CLIP, VAL, … are good ones. An empty tuple: takes no file.
READS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ask": (("FILE", "What?"), ("CLIP", "What?", "--audio", "FILE"), ("What?", "--depth", "FILE")),
    "explain": (("FILE", "What?", "--out", "NEW.html"),),
    "stream": (("FILE", "What?"),),
    "select": (("FILE", "What?"),),
    "inspect": (("FILE",),),
    "compare": (("FILE", "FILE"),),
    "merge": (("FILE", "--out", "NEW.jsonl"),),
    "data doctor": (("FILE",),),
    "data convert": (("FILE", "--out", "NEW.jsonl"),),
    "convert": (("malmm", "FILE", "--base", "tiny-base", "--out", "NEW"), ("crema", "FILE", "--out", "NEW")),
    "train": (("FILE",),),
    "compose": (("--encoder", "FILE", "--language-model", "FILE", "--out", "NEW"),),
    "pseudo-label": (("FILE", "--out", "NEW.jsonl", "--media", "."),),
    "evaluate": (("--folder", "FILE"),),
    "extract depth": (("FILE", "--out", "NEW"),),
    "extract normals": (("FILE", "--out", "NEW"),),
    "extract flow": (("FILE", "--out", "NEW", "--vectors"),),
    "extract frames": (("FILE", "--out", "NEW"),),
    "extract trim": (("FILE", "--out", "NEW"), ("--annotations", "FILE", "--videos", ".", "--out", "NEW")),
    "extract pointfeatures": (("FILE", "--out", "NEW"),),
    "models show": (("FILE",),),
    "cache verify": (("--cache", "FILE"),),
    "cache prune": (("--cache", "FILE"),),
    "contra4 stats": (("FILE",),),
    "contra4 doctor": (("FILE",),),
    "contra4 croissant": (("FILE",),),
    "contra4 evaluate": (("--split", "FILE"), ("--split", "VAL", "--fit-on", "FILE")),
    "contra4 generate": (("FILE",),),
}
NO_FILE = {"list", "data list", "data show", "models list", "toyworld make", "toyworld show", "cache ls", "doctor"}
# Commands that work through many files report each and leave with 1, and a folder or nothing is what some ask for.
MAKES_A_REPORT = {"extract depth", "extract normals", "extract flow", "extract frames", "extract trim"}
TAKES_FOLDERS = MAKES_A_REPORT | {"cache verify", "cache prune"}
# A run's own predictions and released weights: what they hold is PredictionError and CheckpointError, a fault of the file.
FAULTS_OF_FILES = {"compare", "compose", "merge", "convert", "extract depth"}
BAD = ("missing", "folder", "empty", "binary", "name")


def _leaves(command=None, path=()) -> list[str]:
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        return [" ".join(path)]
    return [leaf for name, below in inner.items() for leaf in _leaves(below, (*path, name))]


@pytest.fixture
def bad(tmp_path, monkeypatch) -> dict[str, str]:
    """Kind → path of a file that no command can use; all in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "binary.mp4").write_bytes(bytes(range(256)) * 9)
    return {
        "missing": "missing.mp4",
        "folder": "folder",
        "empty": "empty.mp4",
        "binary": "binary.mp4",
        "name": os.fsdecode(b"\xff\xfe\n\x1b[31m.mp4"),
    }


def test_the_table_holds_every_command():
    assert set(_leaves()) == set(READS) | NO_FILE


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", READS)
def test_a_bad_file_is_one_line_and_two(vid, bad, clip, repository, command, kind):
    if kind == "folder" and command in TAKES_FOLDERS:
        pytest.skip("takes folders")
    good = {"FILE": bad[kind], "CLIP": str(clip), "VAL": str(repository / "tests/data/contra4/val.json.gz")}
    for words in READS[command]:
        for flags in ([], ["--json"]):
            done = vid(*command.split(), *(good.get(word, word) for word in words), *flags)
            where = (command, words, kind, done)
            assert "Traceback" not in done.err, where
            assert "unexpected" not in done.err, where
            if done.code == 1 and command in MAKES_A_REPORT and done.out and (not flags or "error" not in done.data):
                continue
            codes = {1, 2} if command in FAULTS_OF_FILES else {2}
            assert done.code in codes, where
            if flags:  # one JSON value, with the line of stderr
                assert done.data["error"].keys() == {"type", "message", "exit_code"}, where
                assert done.err == f"error: {done.data['error']['message']}\n", where
                assert done.data["error"]["exit_code"] == done.code, where
            else:
                assert done.out == "", where
            assert done.err.startswith("error: "), where
            assert done.err.count("\n") == 1, where
            assert done.err.rstrip("\n").isprintable(), where
    assert not [p for p in Path.cwd().iterdir() if p.name.startswith("NEW") and p.is_file()]


@pytest.mark.parametrize("command", [*READS, *sorted(NO_FILE)])
def test_a_wrong_option_is_one_line_and_two(vid, command):
    done = vid(*command.split(), "--wings", "2")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "No such option: --wings" in done.err


@pytest.mark.parametrize("command", sorted({*READS} - {"convert", "evaluate", "cache verify", "cache prune"}))
def test_no_argument_is_one_line_and_two(vid, command):
    done = vid(*command.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert re.match("error: (Missing |Invalid value: RECIPE is missing)", done.err)


WRITES = {
    "explain": ("CLIP", "What?", "--out", "OUT/why.html"),
    "toyworld make": ("--clips", "1", "--out", "OUT/world"),
    "toyworld show": ("--out", "OUT/scene.png"),
    "compare": ("A", "B", "--report", "OUT/r.html"),
    "contra4 croissant": ("VAL", "--out", "OUT/croissant.json"),
    "contra4 evaluate": ("--split", "VAL", "--report", "OUT/r.html"),
    "evaluate": ("--examples", "1", "--limit", "1", "--predictions", "OUT/r.jsonl"),
    "extract frames": ("CLIP", "--out", "OUT/frames"),
    "extract trim": ("CLIP", "--end", "1", "--out", "OUT/cuts"),
}


@pytest.mark.parametrize("command", WRITES)
def test_a_file_where_a_folder_should_be_is_one_line_and_two(vid, bad, clip, model, repository, command):
    """Read-only folders are no test where root may write everything; a file in the folder's place refuses it, too."""
    good = {"CLIP": str(clip), "VAL": str(repository / "tests/data/contra4/val.json.gz")}
    words = [good.get(word, word).replace("OUT", "empty.mp4") for word in WRITES[command]]
    done = vid(*command.split(), *words)
    where = (command, done)
    assert "unexpected" not in done.err, where
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), where
