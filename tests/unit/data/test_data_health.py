"""The check of a data set finds each planted fault, goes on where it was interrupted, and finds nothing in a whole set."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vidweave.cli.main import run
from vidweave.data import health
from vidweave.data.examples import ExamplesFile
from vidweave.data.health import KINDS, check_dataset
from vidweave.data.lvu import LVU
from vidweave.data.nextqa import NextQA
from vidweave.errors import PredictionError
from vidweave.media.write import write_video
from vidweave.types import Frames

FRAMES, FPS = 7, 4


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames = Frames.from_array(np.random.default_rng(8).integers(0, 255, (FRAMES, 34, 46, 3), dtype=np.uint8), fps=FPS)
    return write_video(tmp_path_factory.mktemp("health") / "clip.mp4", frames)


def questions(folder, video, rows):
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps({"video": "a.mp4", "question": "Which?", **row}) + "\n" for row in rows))
    return path


def kinds(result):
    return {finding.kind: finding for finding in result.findings}


def test_a_whole_set_has_no_findings(tmp_path, video):
    result = check_dataset(ExamplesFile(data=questions(tmp_path, video, [{"answer": "x", "start": 0, "end": 1.5}] * 3)))
    assert (result.num_examples, result.num_recordings, result.findings) == (3, 1, ())


def test_planted_faults_of_own_files(tmp_path, video):
    path = questions(tmp_path, video, [
        {"id": "one", "answer": "x"},
        {"id": "one", "answer": "x"},
        {"id": "far", "answer": "x", "start": 1, "end": 60},
        {"id": "gone", "video": "none.mp4", "answer": "x"},
        {"id": "torn", "video": "b.mp4", "answer": "x"},
        {"id": "wrong", "options": ["red", "blue"], "answer": "green"},
        {"id": "seven", "options": ["red", "blue"], "answer": 7},
        {"id": "typo", "answer": "x", "strat": 1},
    ])  # fmt: skip
    (tmp_path / "b.mp4").write_bytes(video.read_bytes()[:300])
    result = check_dataset(ExamplesFile(data=path))
    assert result.counts == {
        "unreadable row": 1, "answer outside options": 2, "duplicate id": 1, "missing media": 1, "undecodable media": 1,
        "span past the end": 1,
    }  # fmt: skip
    by_kind = kinds(result)
    assert by_kind["duplicate id"].where == "one"
    assert by_kind["span past the end"].where == "far"
    assert "the span ends at 60 s, the video at 1.8 s" in by_kind["span past the end"].detail
    assert by_kind["missing media"].detail == "no file for 1 examples, the first is gone"
    assert by_kind["undecodable media"].where == "b.mp4"
    assert "unknown field strat" in by_kind["unreadable row"].detail


def test_frame_counts_and_durations_of_annotations(tmp_path, video):
    header = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    (tmp_path / "val.csv").write_text(f"{header}a,9,1,1,why,5,1,CW,a,b,c,d,e\na,9,1,1,why,4,2,CW,a,b,c,d,e\n")
    (tmp_path / "a.mp4").write_bytes(video.read_bytes())
    result = check_dataset(NextQA(data=tmp_path / "val.csv", media=(tmp_path,)))
    assert result.counts == {"answer outside options": 1, "frame count": 1}
    assert kinds(result)["frame count"].detail == f"{FRAMES} frames, the annotation says 9"
    lvu = {"a": {"subset": "val", "duration": 132, "num_frames": 1400, "year": "5"}}
    (tmp_path / "val.json").write_text(json.dumps(lvu))
    result = check_dataset(LVU(data=tmp_path / "val.json", media=(tmp_path,), task="year"))
    assert result.counts == {"short media": 1, "span past the end": 2}


def test_a_file_that_ends_in_the_middle_is_one_finding(tmp_path, video):
    path = questions(tmp_path, video, [{"answer": "x"}] * 2)
    path.write_text(path.read_text() + '{"video": "a.mp4", "ques')
    result = check_dataset(ExamplesFile(data=path))
    assert (result.num_examples, list(result.counts)) == (2, ["unreadable row"])
    assert "own.jsonl:3: not JSON" in result.findings[0].detail


def test_what_is_known_of_media_is_not_decoded_again(tmp_path, video, monkeypatch):
    path, looked = questions(tmp_path, video, [{"answer": "x"}, {"video": "b.mp4", "answer": "x"}]), []
    encode = health._probe
    monkeypatch.setattr(health, "_probe", lambda *arguments: looked.append(arguments[0]) or encode(*arguments))
    journal = tmp_path / "check.jsonl"
    assert check_dataset(ExamplesFile(data=path), journal=journal, num_workers=1).num_known == 0
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while it wrote the second
    assert check_dataset(ExamplesFile(data=path), journal=journal).num_known == 1
    assert len(looked) == 3
    (tmp_path / "b.mp4").write_bytes(video.read_bytes() + b"\0")  # another size
    assert check_dataset(ExamplesFile(data=path), journal=journal).num_known == 1
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(PredictionError, match="is not a file of a data check"):
        check_dataset(ExamplesFile(data=path), journal=tmp_path / "other.jsonl")


def test_the_command_reports_as_table_json_and_page(tmp_path, video, capsys):
    path = questions(tmp_path, video, [{"id": "x", "answer": "x"}, {"video": "none.mp4", "answer": "x"}])
    assert run(["data", "doctor", str(path), "--report", str(tmp_path / "r.html")]) == 1
    assert "missing media  none.mp4  no file for 1 examples" in capsys.readouterr().out
    assert "none.mp4: no file for 1 examples" in (tmp_path / "r.html").read_text()
    assert run(["data", "doctor", str(path), "--json", "--report", str(tmp_path / "r.json")]) == 1
    reply = json.loads(capsys.readouterr().out)
    assert reply == json.loads((tmp_path / "r.json").read_text())
    assert reply["counts"] == {"missing media": 1}
    assert set(reply["counts"]) <= set(KINDS)
    (tmp_path / "none.mp4").write_bytes(video.read_bytes())
    assert run(["data", "doctor", str(path)]) == 0
    assert run(["data", "doctor", str(path), "--report", "r.txt"]) == 2
    assert run(["data", "doctor", "toyworld"]) == 2
    assert "is a task, not a data set" in capsys.readouterr().err
    assert run(["data", "doctor", "nextqa"]) == 2
    assert "needs data=FILE" in capsys.readouterr().err
    assert run(["data", "doctor", "nextqa", f"data={tmp_path / 'none.csv'}"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_any_data_set_becomes_a_file_of_our_own_form(tmp_path, video, capsys):
    header = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    (tmp_path / "val.csv").write_text(f"{header}a,7,1,1,why,4,2,CW,a,b,c,d,e\n")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_bytes(video.read_bytes())
    words = ["data", "convert", "nextqa", f"data={tmp_path / 'val.csv'}", f"media={tmp_path / 'v'}"]
    assert run([*words, "--out", str(tmp_path / "own.jsonl")]) == 0
    (theirs,), (ours,) = NextQA(data=tmp_path / "val.csv").annotations, ExamplesFile(data=tmp_path / "own.jsonl")
    assert (ours.id, ours.query.text, ours.query.options) == (theirs.id, theirs.query.text, theirs.query.options)
    assert (ours.answer, ours.position, ours.question_type) == (theirs.answer, theirs.position, theirs.question_type)
    (tmp_path / "deep").mkdir()
    assert run([*words, "--out", str(tmp_path / "deep" / "own.jsonl")]) == 2
    assert "write the file to a folder above the media" in capsys.readouterr().err


def test_show_and_list_know_every_data_set(capsys):
    assert run(["data", "show", "msvd-qa"]) == 0
    shown = capsys.readouterr().out
    assert "vidweave evaluate msvd-qa data=FILE media=FOLDER" in shown
    assert "most frequent answer 14.1" in shown
    assert "malmm" in shown
    assert run(["data", "list", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)["datasets"]} >= {"lvu", "tvqa", "examples"}
    assert run(["data", "show", "msvd-aq"]) == 2
    assert "did you mean 'msvd-qa'" in capsys.readouterr().err
