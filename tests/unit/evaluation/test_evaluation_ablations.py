"""Baselines that run the model on the options, the question or one middle frame alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vidweave
from vidweave.cli.main import run
from vidweave.data.schema import Example
from vidweave.errors import MediaDecodeError
from vidweave.evaluation.ablations import NO_QUESTION, input_ablations, middle_frame
from vidweave.evaluation.benchmarks.model_baselines import ModelBaselines
from vidweave.evaluation.predictions import Prediction, read_predictions
from vidweave.media.write import write_audio, write_video
from vidweave.types import Answer, Clip, Frames, Query, Waveform


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A clip of 9 frames whose brightness is 20 times their number, its audio, and questions about them."""
    folder = tmp_path_factory.mktemp("ablations")
    values = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None] * 20, (9, 32, 48, 3))
    write_video(folder / "a.mp4", Frames.from_array(np.ascontiguousarray(values), fps=4))
    write_audio(folder / "a.wav", Waveform(np.ones(8_000, np.float32) / 2, 8_000))
    rows = [
        {"video": "a.mp4", "question": f"Is it {i}?", "options": ["yes", "no"], "answer": i % 2, "type": "bright"}
        for i in range(3)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Watches:
    """Says what it was shown; right only with question and clip."""

    def __init__(self) -> None:
        self.queries, self.decoding = [], []

    def answer(self, queries, **decoding):
        self.queries += queries
        self.decoding.append(decoding)
        return [Answer("no" if isinstance(q.scenes[0].clip["video"], str) else "yes") for q in queries]

    def describe(self):
        return {"model": "watches"}


@pytest.fixture
def model(monkeypatch):
    model = Watches()
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    return model


def evaluated(capsys, *words):
    code = run(["evaluate", *map(str, words), "--json"])
    reply = capsys.readouterr()
    assert code == 0, reply.err
    return json.loads(reply.out)


def test_each_baseline_has_its_own_file_and_stands_in_the_report(files, model, tmp_path, capsys):
    words = (files / "own.jsonl", "--baselines", "--frames", 4, "--predictions", tmp_path / "r.jsonl")
    result = evaluated(capsys, *words)
    full, options, question, middle = (model.queries[i : i + 3] for i in range(0, 12, 3))
    assert [q.text for q in full] == [q.text for q in question] == [q.text for q in middle]
    assert {q.text for q in options} == {NO_QUESTION}
    assert all(q.options == ("yes", "no") for q in model.queries)
    for asked in (options, question):
        shown = asked[0].scenes[0].clip["video"]
        assert shown.values.shape == (9, 32, 48, 3)
        assert (shown.values == 127).all()
    (only,) = middle[0].scenes[0].clip["video"].values
    assert abs(float(only.mean()) - 80) < 3  # frame 4 of 0..8
    assert model.decoding == [{"num_frames": 4}, {"num_frames": 4}, {"num_frames": 4}, {}]
    rules = {rule["name"]: rule["overall"] for rule in result["baselines"]}
    assert {
        name: rules[name] for name in ("options alone", "question without the clip", "one middle frame")
    } == dict.fromkeys(("options alone", "question without the clip", "one middle frame"), 2 / 3)
    assert result["overall"]["accuracy"] == 1 / 3
    assert (result["remainder"]["num_correct"], result["remainder"]["num_items"]) == (1, 1)
    for slug, name in (("options-alone", "options alone"), ("question-alone", "question without the clip"),
                       ("middle-frame", "one middle frame")):  # fmt: skip
        manifest, predictions = read_predictions(tmp_path / f"r.{slug}.jsonl")
        assert manifest["ablation"] == name
        assert [p.question for p in predictions] == ["Is it 0?", "Is it 1?", "Is it 2?"]
        assert predictions[0].media, "the clip itself is recorded, so that a changed one is noticed"
        assert result["written"][f"baseline {name}"] == str(tmp_path / f"r.{slug}.jsonl")
    evaluated(capsys, *words)
    assert len(model.queries) == 12, "what is recorded is not asked again"


def test_the_text_names_baselines_and_the_remainder(files, model, tmp_path, capsys):
    assert run(["evaluate", str(files / "own.jsonl"), "--baselines"]) == 0
    text = capsys.readouterr().out
    assert "baseline, one middle frame: 66.7% (model -33.3%, 95% interval" in text
    assert "over the 1 questions that no baseline of the model answers: 100.00%" in text
    assert "written to" not in text, "without --predictions, nothing is kept"


def test_baselines_that_do_not_apply_are_named():
    asked = [Example(id="1", query=Query.about("a.wav", "What is heard?"), answer="rain")]
    made, notes = input_ablations(asked, ["audio"])
    assert [a.name for a in made] == ["question without the clip"]
    assert notes == [
        "baseline 'options alone' does not apply: there are questions without options",
        "baseline 'one middle frame' does not apply: the clips have no frames",
    ]


def test_the_middle_frame_of_a_span_and_without_audio(files):
    clip = Clip(str(files / "a.mp4"), audio=str(files / "a.wav"), start_seconds=0.9, end_seconds=1.6)
    changed = middle_frame(clip)
    assert list(changed) == ["video"]
    assert changed["video"].pts_seconds.tolist() == [1.25]  # 1.0, 1.25 and 1.5 are inside
    assert (changed.start_seconds, changed.end_seconds) == (0.9, 1.6)
    with pytest.raises(MediaDecodeError, match=r"no frame between 1.6 s and 1.7 s"):
        middle_frame(Clip(str(files / "a.mp4"), start_seconds=1.6, end_seconds=1.7))
    (_, _, middle), _ = input_ablations(
        [Example(id="1", query=Query.about(clip, "a?", ("b", "c")), answer="b")], ["video"]
    )
    late = Query.about(Clip(str(files / "a.mp4"), start_seconds=1.6, end_seconds=1.7), "a?")
    with pytest.raises(MediaDecodeError, match="baseline 'one middle frame': the clip has no frame"):
        middle.apply(late)


def test_questions_about_one_clip_share_the_changed_clip(files):
    query = Query.about(str(files / "a.mp4"), "a?", ("b", "c"))
    other = Query.about(str(files / "a.mp4"), "d?", ("b", "c"))
    made, _ = input_ablations([Example(id="1", query=query, answer="b")], ["video"])
    for ablation in made:
        assert ablation.apply(query).scenes[0].clip is ablation.apply(other).scenes[0].clip


def test_the_remainder_is_what_no_baseline_answers():
    def prediction(name, correct):
        facts = {"question_type": "all", "question": "?", "options": (), "answer": "a", "prompt": None, "frames": ()}
        return Prediction(id=name, correct=correct, output="", scores=(), **facts)

    scores = {"one": {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}, "two": {"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.0}}
    baselines = ModelBaselines(scores=scores, files={}, notes=())
    left = baselines.remainder([prediction(name, name in "ac") for name in "abcd"])
    assert (left.num_correct, left.num_items) == (1, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toyworld", "--baselines"], "--baselines applies to data sets"),
        (["msvd-caption", "data={captions}", "media={folder}", "--baselines"], "--baselines compares right answers"),
    ],
)
def test_baselines_are_refused_where_they_mean_nothing(words, message, files, model, tmp_path, capsys):
    from tests.unit.data.benchmark_files import write_files

    written = write_files("msvd-caption", tmp_path, {".mp4": files / "a.mp4", ".avi": files / "a.mp4"})
    places = {"captions": tmp_path / written.data, "folder": tmp_path / "media"}
    assert run(["evaluate", *(word.format(**places) for word in words)]) == 2
    assert message in capsys.readouterr().err
