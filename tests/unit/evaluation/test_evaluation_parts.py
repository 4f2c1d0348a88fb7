"""Parts of a run: every question in exactly one, merged to what one run gives, and asked once though it is killed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidweave.data.schema import Example
from vidweave.errors import ConfigError, PredictionError
from vidweave.evaluation.merging import merge_predictions
from vidweave.evaluation.parts import batches_by_recording, in_shard
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.runner import collect
from vidweave.types import Answer, Query

RECORDINGS = [f"clip-{i % 5}" for i in range(13)]


class ClipTask:
    """Questions about five recordings, which take turns."""

    def ids(self):
        return [f"q{i}" for i in range(13)]

    def recordings(self):
        return RECORDINGS

    def example(self, index):
        return Example(id=f"q{index}", query=Query.about("clip.mp4", f"Which, {index}?"), answer="it")

    def describe(self):
        return {"name": "clips"}


class Counting:
    """Fails after a number of batches."""

    def __init__(self, lives=99):
        self.asked, self.lives = [], lives

    def answer(self, queries, **_):
        if self.lives == 0:
            raise KeyboardInterrupt
        self.lives -= 1
        self.asked.append([query.text for query in queries])
        return [Answer("it") for _ in queries]

    def describe(self):
        return {"model": "counting"}


def asked(model):
    return sorted(text for batch in model.asked for text in batch)


def test_parts_merge_to_what_one_run_gives(tmp_path):
    whole = collect(Counting(), ClipTask(), tmp_path / "whole.jsonl", batch_size=3)
    files = []
    for i in range(3):
        files.append(tmp_path / f"part{i}.jsonl")
        collect(Counting(), ClipTask(), files[-1], batch_size=2, shard=(i, 3))
    assert merge_predictions(files, tmp_path / "all.jsonl") == 13
    again = Counting()
    merged = collect(again, ClipTask(), tmp_path / "all.jsonl")
    assert not again.asked
    assert merged.predictions == whole.predictions


def test_files_that_do_not_belong_together(tmp_path):
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    collect(Counting(), ClipTask(), first, shard=(0, 2))
    collect(Counting(), ClipTask(), second, shard=(1, 2), decoding={"num_frames": 3})
    with pytest.raises(PredictionError, match="are from different runs"):
        merge_predictions([first, second], tmp_path / "all.jsonl")
    with pytest.raises(PredictionError, match="already exists"):
        merge_predictions([first], second)
    with pytest.raises(PredictionError, match="no prediction files to merge"):
        merge_predictions([], tmp_path / "none.jsonl")
    text = first.read_text()
    (tmp_path / "other.jsonl").write_text(text.replace('"output": "it"', '"output": "other"'))
    with pytest.raises(PredictionError, match="'q0' was answered differently in"):
        merge_predictions([first, tmp_path / "other.jsonl"], tmp_path / "all.jsonl")
    assert merge_predictions([first, first], tmp_path / "twice.jsonl") == len(read_predictions(first)[1])


def test_a_killed_run_asks_each_question_once(tmp_path):
    first = Counting(lives=2)
    with pytest.raises(KeyboardInterrupt):
        collect(first, ClipTask(), tmp_path / "r.jsonl", batch_size=4)
    path = tmp_path / "r.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "q9", "fam')  # the line that the kill tore
    second = Counting()
    result = collect(second, ClipTask(), path, batch_size=5)
    assert sorted(asked(first) + asked(second)) == sorted(f"Which, {i}?" for i in range(13))
    assert [prediction.id for prediction in result.predictions] == ClipTask().ids()


def test_questions_about_a_recording_are_asked_together(tmp_path):
    model = Counting()
    collect(model, ClipTask(), tmp_path / "r.jsonl", batch_size=5)
    recordings = [{RECORDINGS[int(text.split()[1][:-1])] for text in batch} for batch in model.asked]
    assert sum(map(len, recordings)) == 5, "no recording is in two batches"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 9))
def test_batches_hold_every_question_once_and_are_never_too_large(names, size):
    recordings = [f"r{name}" for name in names]
    batches = list(batches_by_recording(range(len(names)), recordings, size))
    assert sorted(i for batch in batches for i in batch) == list(range(len(names)))
    assert all(0 < len(batch) <= size for batch in batches)
    split = [r for r in set(recordings) if sum(any(recordings[i] == r for i in batch) for batch in batches) > 1]
    assert not [
        r for r in split if recordings.count(r) <= size and not any(recordings.count(o) > size for o in recordings)
    ]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 7))
def test_parts_hold_every_question_once_and_whole_recordings(names, number):
    recordings = [f"r{name}" for name in names]
    number = min(number, len(set(recordings)))
    parts = [in_shard(recordings, (i, number)) for i in range(number)]
    assert sorted(i for part in parts for i in part) == list(range(len(names)))
    assert sum(len({recordings[i] for i in part}) for part in parts) == len(set(recordings))


def test_parts_that_cannot_be():
    with pytest.raises(ConfigError, match="a shard is i/n with i from 1 to n, got 4/3"):
        in_shard(["a"], (3, 3))
    with pytest.raises(ConfigError, match="shard 2/2 has no questions; there are 1 recordings"):
        in_shard(["a"], (1, 2))
