"""The prediction file: taken up where it was left, whatever happened, and only by the same run."""

import errno
import json
import os

import pytest

from vidweave.data.schema import Example
from vidweave.errors import PredictionError
from vidweave.evaluation.predictions import Prediction, PredictionFile, read_predictions
from vidweave.types import Answer, FrameUse, OptionScore, Query, Trace

MANIFEST = {"task": {"name": "t", "seed": 3}, "model": {"weights": "ab"}, "decoding": {}}


def prediction(name: str, correct: bool = True) -> Prediction:
    query = Query.about("a.mp4", "Which colour — ‘öt’?", ("red", "blue"))
    trace = Trace(frames=[FrameUse(4, 0.5)], panels={"prompt": "Look.\nWhich?"})
    answer = Answer("red", (OptionScore("red", -0.1), OptionScore("blue", -4.5)), trace)
    return Prediction.of(Example(id=name, question_type="colour", query=query, answer="red"), answer, correct=correct)


def test_a_prediction_holds_prompt_frames_and_scores_in_order_and_survives_the_file(tmp_path):
    with PredictionFile(tmp_path / "deep" / "r.jsonl", MANIFEST) as file:
        file.add([prediction("a"), prediction("b")])
    manifest, predictions = read_predictions(tmp_path / "deep" / "r.jsonl")
    assert manifest == MANIFEST
    assert predictions == [prediction("a"), prediction("b")]
    assert predictions[0].prompt == "Look.\nWhich?"
    assert predictions[0].frames == ({"stream": "video", "index": 4, "pts_seconds": 0.5},)
    assert predictions[0].scores == (-0.1, -4.5)
    bare = Prediction.of(
        Example(id="x", question_type="f", query=Query.about("a.mp4", "?"), answer="y"), Answer("z"), correct=False
    )
    assert (bare.prompt, bare.frames, bare.scores) == (None, (), ())


def test_a_file_cut_at_any_byte_is_taken_up_with_exactly_one_prediction_per_item(tmp_path):
    path = tmp_path / "r.jsonl"
    with PredictionFile(path, MANIFEST) as file:
        for name in "abc":
            file.add([prediction(name)])
    whole = path.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole), 23), *ends, *(end + 1 for end in ends)}):
        path.write_bytes(whole[:cut])
        with PredictionFile(path, MANIFEST) as file:
            left = list(file.predictions)
            assert left == list("abc")[: len(left)]
            assert len(left) >= whole[:cut].count(b"\n") - 1
            file.add([prediction(name) for name in "abc"[len(left) :]])
        assert path.read_bytes() == whole, cut


def test_another_run_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "r.jsonl"
    with PredictionFile(path, MANIFEST) as file:
        file.add([prediction("a")])
    before = path.read_bytes()
    other = {"task": {"name": "t", "seed": 4}, "model": {"weights": "ab", "dtype": "f"}, "decoding": {}}
    message = (
        r"belongs to another run \(model.dtype: recorded None, now 'f'; task.seed: recorded 3, now 4\); use another"
    )
    with pytest.raises(PredictionError, match=message):
        PredictionFile(path, other)
    assert path.read_bytes() == before
    with PredictionFile(path, {**MANIFEST, "task": {"seed": 3, "name": "t"}}) as file:  # the order says nothing
        assert list(file.predictions) == ["a"]


def test_nothing_is_recorded_twice(tmp_path):
    path = tmp_path / "r.jsonl"
    with PredictionFile(path, MANIFEST) as file:
        file.add([prediction("a")])
        with pytest.raises(PredictionError, match="'a' would be recorded twice"):
            file.add([prediction("b"), prediction("a")])
        with pytest.raises(PredictionError, match="would be recorded twice"):
            file.add([prediction("c"), prediction("c")])
        assert list(file.predictions) == ["a"]
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    with pytest.raises(PredictionError, match=r"r.jsonl:3 is damaged \(it repeats item 'a'\); delete that line"):
        PredictionFile(path, MANIFEST)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"id": "a"}', b'{"id": "a", "extra": 1}', b"\xff"])
def test_damage_before_the_last_line_is_named_and_its_advice_helps(tmp_path, line):
    path = tmp_path / "r.jsonl"
    with PredictionFile(path, MANIFEST) as file:
        file.add([prediction("a"), prediction("b")])
    header, _, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([header, line, last, b""]))
    with pytest.raises(PredictionError, match=r"r.jsonl:2 is damaged .*; delete that line to have it made again"):
        PredictionFile(path, MANIFEST)
    path.write_bytes(b"\n".join([header, last, b""]))
    with PredictionFile(path, MANIFEST) as file:
        assert list(file.predictions) == ["b"]


@pytest.mark.parametrize("content", [b"hello\n", b'{"format": "other", "version": 1}\n', b'"x"\n'])
def test_a_file_of_another_kind_is_left_alone(tmp_path, content):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content + b"tail without end")
    with pytest.raises(PredictionError, match=r"is not a prediction file .*; move it away"):
        PredictionFile(path, MANIFEST)
    assert path.read_bytes() == content + b"tail without end"


def test_two_runs_cannot_hold_one_file(tmp_path):
    first = PredictionFile(tmp_path / "r.jsonl", MANIFEST)
    with pytest.raises(PredictionError, match="is being written by another process"):
        PredictionFile(tmp_path / "r.jsonl", MANIFEST)
    first.close()
    PredictionFile(tmp_path / "r.jsonl", MANIFEST).close()


def test_a_full_disk_keeps_what_was_recorded_and_no_half_line(tmp_path, monkeypatch):
    path, real = tmp_path / "r.jsonl", os.write
    with PredictionFile(path, MANIFEST) as file:
        file.add([prediction("a")])
        before = path.read_bytes()

        def write(descriptor, data):
            real(descriptor, bytes(data)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(PredictionError, match="No space left on device; free some space and run again"):
            file.add([prediction("b"), prediction("c")])
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert list(file.predictions) == ["a"]
        file.add([prediction("b"), prediction("c")])
    assert [r.id for r in read_predictions(path)[1]] == ["a", "b", "c"]


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(PredictionError, match=r"cannot use the prediction file .*: Is a directory"):
        PredictionFile(tmp_path, MANIFEST)
    with pytest.raises(PredictionError, match="No such file"):
        read_predictions(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(PredictionError, match="holds no lines yet; it should be a prediction file"):
        read_predictions(tmp_path / "empty")
    with pytest.raises(PredictionError, match="plain JSON data"):
        PredictionFile(tmp_path / "r.jsonl", {"model": {1, 2}})
    assert json.loads((tmp_path / "empty").read_text() or "{}") == {}
