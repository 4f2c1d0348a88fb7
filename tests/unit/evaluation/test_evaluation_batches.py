"""Batches: halved when memory runs out, several at once, one opening and encoding per clip, time by part."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest
import torch

import vidweave
from vidweave.cli.main import run as command
from vidweave.data.schema import Example
from vidweave.errors import ConfigError, NonFiniteError
from vidweave.evaluation.batches import BatchRunner, is_out_of_memory
from vidweave.evaluation.parts import batches_by_recording
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.runner import collect
from vidweave.evaluation.timing import TimeSplit
from vidweave.media.open import OpenSource
from vidweave.media.write import write_video
from vidweave.model import gather
from vidweave.types import Answer, Frames, Query, Trace


class Letters:
    """Questions 0 to `count` - 1, whose answer is "b"."""

    def __init__(self, count: int) -> None:
        self.count = count

    def ids(self):
        return [f"item-{i}" for i in range(self.count)]

    def example(self, index):
        return Example(id=f"item-{index}", query=Query.about("clip.mp4", f"Letter {index}?"), answer="b")

    def describe(self):
        return {"name": "letters"}


class Small:
    """Holds `room` questions in memory, or runs out of it."""

    def __init__(self, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room, self.error, self.batches = room, error, []
        self.lock = threading.Lock()

    def answer(self, queries, **decoding):
        with self.lock:
            self.batches.append(len(queries))
        if len(queries) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2 GiB")
        return [Answer("b") for _ in queries]

    def describe(self):
        return {"model": "small"}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(tmp_path, error):
    model = Small(3, error)
    result = collect(model, Letters(21), tmp_path / "r.jsonl", batch_size=16, progress=False)
    assert [p.id for p in result.predictions] == Letters(21).ids()
    assert len(read_predictions(tmp_path / "r.jsonl")[1]) == 21
    # 16 and 8 and 4 fail, then all have at most 2
    assert model.batches == [16, 8, 4, *[2] * 8, 2, 2, 1]
    assert list(result.notes) == [
        f"out of memory with {size} questions per batch; reduced to {size // 2}" for size in (16, 8, 4)
    ]
    assert result.report().to_dict()["notes"] == list(result.notes)


def test_one_question_that_does_not_fit_stops_the_run_and_what_was_answered_is_kept(tmp_path):
    class Late(Small):
        def answer(self, queries, **decoding):
            self.room = 2 if len(self.batches) < 3 else 0
            return super().answer(queries)

    path = tmp_path / "r.jsonl"
    with pytest.raises(
        ConfigError, match=r"one question alone does not fit into memory \(CUDA out of memory\).*--frames"
    ):
        collect(Late(2), Letters(9), path, batch_size=2, progress=False)
    assert len(read_predictions(path)[1]) == 6
    result = collect(Small(9), Letters(9), path, batch_size=2, progress=False)
    assert (result.num_resumed, len(result.predictions)) == (6, 9)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path):
    with pytest.raises(NonFiniteError):
        collect(Small(0, NonFiniteError), Letters(4), tmp_path / "r.jsonl", progress=False)
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("out of range"))


@pytest.mark.parametrize("workers", [2, 3])
def test_batches_in_flight_are_recorded_in_order(tmp_path, workers):
    one, several = tmp_path / "one.jsonl", tmp_path / "several.jsonl"
    collect(Small(99), Letters(23), one, batch_size=4, progress=False)
    collect(Small(99), Letters(23), several, batch_size=4, progress=False, workers=workers)
    assert one.read_bytes() == several.read_bytes()
    short = collect(Small(3), Letters(23), tmp_path / "short.jsonl", batch_size=4, progress=False, workers=workers)
    assert [p.id for p in short.predictions] == Letters(23).ids()


def test_two_batches_are_in_flight_at_once():
    together = threading.Barrier(2, timeout=10)  # broken unless two calls meet

    def call(batch):
        together.wait()
        return batch

    assert list(BatchRunner(call, workers=2).run([[1], [2], [3], [4]])) == [[1], [2], [3], [4]]
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        BatchRunner(call, workers=0)


def test_an_error_in_flight_keeps_what_came_before(tmp_path):
    class Breaks(Small):
        def answer(self, queries, **decoding):
            if "Letter 8?" in [query.text for query in queries]:
                raise NonFiniteError("logits are NaN")
            return super().answer(queries)

    path = tmp_path / "r.jsonl"
    with pytest.raises(NonFiniteError, match="item-8"):
        collect(Breaks(9), Letters(40), path, batch_size=4, progress=False, workers=2)
    assert [p.id for p in read_predictions(path)[1]] == Letters(8).ids()


def test_long_questions_come_first_and_clips_stay_together():
    recordings = ["a", "b", "a", "c", "b", "c"]
    sizes = [3, 5, 4, 9, 5, 1]
    assert list(batches_by_recording(range(6), recordings, 2, sizes)) == [[3, 5], [1, 4], [0, 2]]
    assert list(batches_by_recording([0, 5], recordings, 2, sizes)) == [
        [5, 0]
    ]  # c is long by a question already answered


# ---- counts


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """200 questions on 50 clips, four each, that are not beside each other in the file."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(3)
    for number in range(50):
        values = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", Frames.from_array(values, fps=4))
    rows = [
        {"video": f"{i % 50}.mp4", "question": f"What is {i}?", "options": ["red", "blue"], "answer": i % 2}
        for i in range(200)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_200_questions_on_50_clips_open_50_files_and_decode_and_encode_200_frames(clips, tmp_path, monkeypatch, capsys):
    opened, decoded, encoded, forced = [], [], [], []
    open_clip, read_frames, fsync = gather.open_clip, OpenSource.read_frames, os.fsync
    monkeypatch.setattr(gather, "open_clip", lambda *a, **k: opened.append(a) or open_clip(*a, **k))
    monkeypatch.setattr(OpenSource, "read_frames", lambda s, i: decoded.extend(i) or read_frames(s, i))
    monkeypatch.setattr(os, "fsync", lambda descriptor: forced.append(descriptor) or fsync(descriptor))
    pipe = vidweave.load("tiny-base")
    for encoder in pipe.model.encoders.values():
        encode = encoder.encode
        monkeypatch.setattr(
            encoder, "encode", lambda v, m, encode=encode: encoded.append(v.shape[0] * v.shape[1]) or encode(v, m)
        )
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: pipe)
    words = [
        "evaluate",
        str(clips / "own.jsonl"),
        "--frames",
        "4",
        "--predictions",
        str(tmp_path / "r.jsonl"),
        "--json",
    ]
    assert command(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["overall"]["num_items"] == 200
    assert (len(opened), len(decoded), sum(encoded)) == (50, 200, 200)
    assert len(forced) == 1 + 13  # the first line, and 200 questions in batches of 16: four clips of four questions
    timing = result["timing"]
    assert timing["bookkeeping_cpu_ms_per_question"] <= 1.0
    assert min(timing["seconds"][part] for part in ("decode", "encode", "answer", "hash", "bookkeeping")) > 0
    assert sum(timing["seconds"].values()) <= result["seconds"]


def test_time_by_part():
    split = TimeSplit()
    first = {"open": 1.0, "decode": 2.0, "look": 4.0, "answer": 0.5}
    answers = [Answer("a", trace=Trace(seconds=dict(first))) for _ in range(3)]
    answers.append(Answer("b", trace=Trace(seconds={"encode": 1.5, "polish": 0.25})))
    split.add_answers(answers, 10.0)
    split.add_answers([Answer("c")], 3.0)  # without a trace
    seconds = split.to_dict(0)["seconds"]
    assert (seconds["decode"], seconds["encode"], seconds["answer"]) == (3.0, 5.5, 3.5)
    assert seconds["other"] == 0.25 + 10.0 - 9.25
    assert split.to_dict(0)["bookkeeping_cpu_ms_per_question"] is None
    with split.part("bookkeeping"):
        sum(range(200_000))
    assert split.to_dict(4)["bookkeeping_cpu_ms_per_question"] > 0
