"""`vidweave evaluate --frames 1,4,8`: one prediction file per setting, differences to the first, a curve."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import vidweave
from vidweave.cli.main import run
from vidweave.errors import ConfigError, ModalityError
from vidweave.evaluation.compare import compare_files
from vidweave.evaluation.frame_rate import AtFrameRate
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.sweep import settings_of
from vidweave.media.write import write_video
from vidweave.report.sweep import sweep_curve
from vidweave.types import Answer, Clip, Frames, FrameUse, Query, Trace


class Sees:
    """Knows the answer of question i if it gets more than i frames."""

    def __init__(self) -> None:
        self.asked = []

    def answer(self, queries, *, num_frames=8, **decoding):
        self.asked.append((len(queries), num_frames))
        frames = [FrameUse(i, i / 4) for i in range(num_frames)]
        return [
            Answer("yes" if int(q.text.split()[1]) < num_frames else "no", trace=Trace(frames=frames)) for q in queries
        ]

    def describe(self):
        return {"model": "sees"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of 1 s, 2 s and 5 s at 4 frames per second, four questions each."""
    folder = tmp_path_factory.mktemp("sweep")
    for name, number in (("a", 4), ("b", 8), ("c", 20)):
        values = np.zeros((number, 32, 32, 3), np.uint8)
        write_video(folder / f"{name}.mp4", Frames.from_array(values, fps=4))
    rows = [
        {"video": f"{name}.mp4", "question": f"Question {i}", "answer": "yes"} for i, name in enumerate("aaaabbbbcccc")
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def model(monkeypatch):
    model = Sees()
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    return model


def swept(capsys, *words):
    code = run(["evaluate", *map(str, words), "--json"])
    reply = capsys.readouterr()
    assert code == 0, reply.err
    return json.loads(reply.out)


def test_every_setting_is_a_run_of_its_own_compared_with_the_first(folder, model, tmp_path, capsys):
    words = (folder / "own.jsonl", "--frames", "1,4,8", "--predictions", tmp_path / "r.jsonl")
    result = swept(capsys, *words)
    rows = result["sweep"]
    assert [(row["label"], row["accuracy"], row["frames_per_question"]) for row in rows] == [
        ("1 frame", 1 / 12, 1),
        ("4 frames", 4 / 12, 4),
        ("8 frames", 8 / 12, 8),
    ]
    assert rows[0]["difference"] is None
    for row, name in zip(rows[1:], ("4-frames", "8-frames"), strict=True):
        paired = compare_files(tmp_path / f"r.{name}.jsonl", tmp_path / "r.1-frame.jsonl").overall
        assert row["difference"] == paired.difference
        assert row["difference_low"] == pytest.approx(paired.low, abs=0.05)  # another order, another draw
        assert row["p_value"] == paired.p_value <= row["p_holm"]
        assert read_predictions(tmp_path / f"r.{name}.jsonl")[0]["decoding"] == {"num_frames": row["frames"]}
    model.asked.clear()
    assert swept(capsys, *words)["sweep"][2]["accuracy"] == 8 / 12
    assert not model.asked, "a second call asks nothing again"


def test_a_frame_rate_follows_the_length_of_each_clip(folder, model, capsys):
    result = swept(capsys, folder / "own.jsonl", "--fps", "1,2")
    assert sorted(model.asked[:3]) == [(4, 1), (4, 2), (4, 5)]
    assert sorted(model.asked[3:]) == [(4, 2), (4, 4), (4, 10)]
    assert [row["label"] for row in result["sweep"]] == ["1 fps", "2 fps"]
    assert [row["predictions"] for row in result["sweep"]] == [None, None]


def test_the_rate_is_of_the_span_and_at_most_all_frames(folder):
    model = Sees()
    ask = AtFrameRate(model)
    clip = str(folder / "c.mp4")
    whole, part = Query.about(clip, "Question 0"), Query.about(Clip(clip, start_seconds=1, end_seconds=3), "Question 0")
    ask.answer([whole, part, whole], fps=0.01)
    ask.answer([whole, part, whole], fps=2)
    ask.answer([part], fps=1000)  # frames at 1.0, 1.25, …, 3.0 s
    ask.answer([whole], num_frames=3)
    assert model.asked == [(3, 1), (2, 10), (1, 4), (1, 9), (1, 3)]
    assert ask.describe() == {"model": "sees"}
    with pytest.raises(ConfigError, match="without num_frames"):
        ask.answer([whole], fps=2, num_frames=3)
    with pytest.raises(ModalityError, match="a frame rate needs frames, the clip has audio; leave out --fps"):
        ask.answer([Query.about(Clip(audio="a.wav"), "Question 0")], fps=2)


def test_the_table_and_the_files(folder, model, tmp_path, capsys):
    for suffix in ("html", "md", "json"):
        assert (
            run(["evaluate", str(folder / "own.jsonl"), "--frames", "8,2", "--report", str(tmp_path / f"s.{suffix}")])
            == 0
        )
        text = capsys.readouterr().out
        assert text.splitlines()[0].split()[:4] == ["setting", "accuracy", "95%", "interval"]
        assert "-50.0%" in text
    page = (tmp_path / "s.html").read_text()
    for word in ("Accuracy of sees on examples", "frames per question", "66.7%", "most frequent answer"):
        assert word in page
    assert "| 8 frames | 66.7% |" in (tmp_path / "s.md").read_text()
    assert json.loads((tmp_path / "s.json").read_text())["sweep"][1]["frames"] == 2
    with Image.open(tmp_path / "s.png") as image:
        pixels = np.asarray(image)
    assert (pixels == (0x3B, 0x6F, 0xB6)).all(-1).sum() > 500, "the curve is drawn"


def test_one_line_per_selector():
    settings = settings_of([1, 4], selectors=["uniform", "similarity:FOLDER"])
    assert [setting.slug for setting in settings] == [
        "1-frame-uniform", "4-frames-uniform", "1-frame-similarity-FOLDER", "4-frames-similarity-FOLDER"
    ]  # fmt: skip
    rows = [{**vars(s), "label": s.label, "accuracy": 0.5, "low": 0.4, "high": 0.6} for s in settings]
    texts = [shape.text for shape in sweep_curve(rows).shapes if hasattr(shape, "text")]
    assert {"uniform", "similarity:FOLDER", "1", "4"} <= set(texts)
    assert [s.label for s in settings_of()] == ["as configured"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "1,x"], "--frames takes whole numbers of at least 1, e.g. 8 or 1,4,8; got '1,x'"),
        (["--frames", "0"], "--frames takes whole numbers"),
        (["--frames", ""], "--frames takes whole numbers"),
        (["--fps", "nan"], "--fps takes numbers above 0"),
        (["--fps", "2", "--frames", "2"], "--frames and --fps both set the number of frames"),
        (["--frames", "4,2,4"], "the setting '4 frames' is given twice"),
    ],
)
def test_settings_that_make_no_sense(words, message, folder, model, capsys):
    assert run(["evaluate", str(folder / "own.jsonl"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not model.asked


def test_a_sweep_needs_answers(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.jsonl").write_text(json.dumps({"video": "a.mp4", "question": "Question 0"}) + "\n")
    (tmp_path / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    assert run(["evaluate", "own.jsonl", "--frames", "1,2"]) == 2
    assert "a sweep compares accuracies, and no question has an answer" in capsys.readouterr().err


def test_selectors_are_loaded_one_after_the_other(folder, monkeypatch, tmp_path, capsys):
    loads = []

    def load(name, *, selector=None, **arguments):
        loads.append(selector)
        return Sees()

    monkeypatch.setitem(vars(vidweave), "load", load)
    words = (folder / "own.jsonl", "--selector", "uniform,similarity:tiny-siglip", "--frames", "2,4")
    rows = swept(capsys, *words, "--predictions", tmp_path / "r.jsonl")["sweep"]
    assert loads == ["uniform", "similarity:tiny-siglip"]
    assert [(row["selector"], row["frames"]) for row in rows] == [
        ("uniform", 2), ("uniform", 4), ("similarity:tiny-siglip", 2), ("similarity:tiny-siglip", 4)
    ]  # fmt: skip
    assert (tmp_path / "r.4-frames-similarity-tiny-siglip.jsonl").exists()
    for words, message in (
        (["--selector", "uniform,nothing"], "unknown frame selector 'nothing'"),
        (["--selector", "uniform,similarity", "--selector-model", "tiny-siglip"], "--selector-model belongs to one"),
        (["--selector", "uniform,uniform"], "the setting 'uniform' is given twice"),
    ):
        assert run(["evaluate", str(folder / "own.jsonl"), *words]) == 2
        assert message in capsys.readouterr().err
