"""The feature cache behind asking and training: written, found again, told of, and never bad."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import vidweave
from vidweave.media.store import FeatureStore
from vidweave.model import gather
from vidweave.types import Clip, Frames, Query


def clips(count):
    rng = np.random.default_rng(0)
    return [Clip(Frames.from_array(rng.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8), fps=2)) for _ in range(count)]


def ask(pipe, clip, **more):
    return pipe.ask(clip, "What colour is the circle?", options=["red", "blue"], **more)


def test_another_model_finds_what_the_first_one_saw(tmp_path):
    first, second = (vidweave.load("tiny-base", cache_folder=tmp_path) for _ in range(2))
    one, two = clips(2)
    answers = [ask(first, one), ask(first, two), ask(second, one)]
    assert [a.trace.panels["cache"] for a in answers] == [
        {"known": 0, "computed": 1}, {"known": 0, "computed": 1}, {"known": 1, "computed": 0}
    ]  # fmt: skip
    assert answers[0].options == answers[2].options
    assert ask(vidweave.load("tiny-base"), one).options == answers[0].options
    stats = second.cache.store.stats()
    assert (stats.num_entries, stats.hit_rate) == (2, 1.0)


def test_neither_question_nor_what_follows_the_encoder_counts(tmp_path):
    pipe = vidweave.load("tiny-base", cache_folder=tmp_path)
    (clip,) = clips(1)
    first = ask(pipe, clip)
    with torch.no_grad():
        for parameter in (*pipe.model.connector.parameters(), *pipe.model.language_model.parameters()):
            parameter += 0.01
    other = pipe.ask(clip, "How many circles are there?", options=["one", "two", "three"])
    assert [a.trace.panels["cache"] for a in (first, other)] == [
        {"known": 0, "computed": 1}, {"known": 1, "computed": 0}
    ]  # fmt: skip


def test_what_training_kept_in_memory_is_written_when_the_pipeline_is_closed(tmp_path):
    pipe = vidweave.load("tiny-base", cache_folder=tmp_path)
    pipe.model(pipe.processor([Query.about(clip, "How many?") for clip in clips(3)], cache=pipe.cache))
    assert FeatureStore(tmp_path).stats().num_entries == 0
    pipe.use_cache_folder(None)
    assert FeatureStore(tmp_path).stats().num_entries == 3


def test_a_cache_knows_the_encoder_as_it_was_and_a_new_one_as_it_is(tmp_path):
    pipe = vidweave.load("tiny-base", cache_folder=tmp_path)
    held, (clip,) = pipe.cache, clips(1)
    inputs = pipe.processor([Query.about(clip, "How many?")], cache=held)
    pipe.model.encoders.requires_grad_(True)
    assert held.serves("video")
    assert not pipe.cache.serves("video")
    pipe.model(inputs)  # what is trained by now is not stored
    pipe.cache.store.flush()
    assert pipe.cache.store.stats().num_entries == 0


class Counted:
    """Count the calls of the encoders of a model, and the rows of each."""

    def __init__(self, model, monkeypatch):
        self.rows = []
        for encoder in model.encoders.values():
            monkeypatch.setattr(encoder, "encode", self._counting(encoder.encode))

    def _counting(self, encode):
        def counted(values, modality):
            self.rows.append(len(values))
            return encode(values, modality)

        return counted


@pytest.mark.parametrize("name", ["tiny-base", "tiny-merv"])
def test_a_cold_cache_costs_as_many_encoder_calls_as_none(name, tmp_path, monkeypatch):
    queries = [Query.about(clip, "What colour is the circle?", ["red", "blue"]) for clip in clips(4)]
    plain = vidweave.load(name)
    calls = Counted(plain.model, monkeypatch)
    expected = plain.answer(queries)
    cached = vidweave.load(name, cache_folder=tmp_path)
    cold = Counted(cached.model, monkeypatch)
    answers = cached.answer(queries)
    assert cold.rows == calls.rows == [4] * len(plain.model.encoders)
    assert [a.options for a in answers] == [a.options for a in expected]
    assert answers[0].trace.panels["cache"] == {"known": 0, "computed": 4 * len(plain.model.encoders)}
    assert answers[0].trace.seconds["look"] > answers[0].trace.seconds["open"]


def test_a_batch_of_known_and_new_rows_encodes_the_new_ones(tmp_path, monkeypatch):
    """Known and new clips of different lengths take turns, and one clip occurs twice."""
    pipe, plain = vidweave.load("tiny-merv", cache_folder=tmp_path), vidweave.load("tiny-merv")
    one, two, three, four = clips(4)
    short = Clip(three["video"], end_seconds=1.2)
    pipe.answer([Query.about(clip, "How many?", ["one", "two"]) for clip in (two, four)])
    queries = [Query.about(clip, "How many?", ["one", "two"]) for clip in (one, two, short, four, one)]
    counted = Counted(pipe.model, monkeypatch)
    answers = pipe.answer(queries)
    assert counted.rows == [2] * 3
    # the clip that occurs twice is looked up once
    assert answers[0].trace.panels["cache"] == {"known": 6, "computed": 6}
    for answer, expected in zip(answers, plain.answer(queries), strict=True):
        assert [o.score for o in answer.options] == pytest.approx([o.score for o in expected.options], abs=2e-5)
        assert answer.trace.frames == expected.trace.frames


def test_a_cache_is_small_and_pickles(tmp_path):
    """Data workers hold it: it knows keys, and no weights."""
    pipe = vidweave.load("tiny-merv", cache_folder=tmp_path)
    query = Query.about(clips(1)[0], "How many?")
    pipe.model(pipe.processor([query], cache=pipe.cache))
    pipe.cache.store.flush()
    pickled = pickle.dumps(pipe.cache)
    assert len(pickled) < 100_000
    inputs = pipe.processor([query], cache=pickle.loads(pickled))  # noqa: S301 (our own bytes)
    assert all(stream.values is None for stream in inputs.streams.values())


def test_a_clip_is_hashed_once_for_all_encoders(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(gather, "content_hash", lambda source: hashed.append(source) or f"hash {len(hashed)}")
    ask(vidweave.load("tiny-merv", cache_folder=tmp_path), clips(1)[0])
    assert len(hashed) == 1
    assert FeatureStore(tmp_path).stats().num_entries == 3


def test_weights_that_change_between_batches_are_seen(tmp_path):
    """A batch looks at each encoder once; the next one looks again."""
    pipe = vidweave.load("tiny-base", cache_folder=tmp_path)
    (clip,) = clips(1)
    before = ask(pipe, clip)
    with torch.no_grad():
        pipe.model.encoders["rgb"].norm.bias += 1.0
    after = ask(pipe, clip)
    assert [a.trace.panels["cache"]["known"] for a in (before, after)] == [0, 0]
    assert before.options != after.options


FILL = """
import sys
import numpy as np
import vidweave
from vidweave.types import Clip, Frames

pipe = vidweave.load("tiny-base", cache_folder=sys.argv[1])
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    clip = Clip(Frames.from_array(rng.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8), fps=2))
    pipe.ask(clip, "What colour is the circle?", options=["red", "blue"], trace=False)
    print("asked", flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_filling_a_cache_and_dying_at_random_points_leaves_no_bad_entry(tmp_path):
    rng, seen = random.Random(3), 0
    for turn in range(3):
        filler = subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), str(turn)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            assert filler.stdout is not None
            for line in [b"ready\n", *[b"asked\n"] * rng.randint(1, 4)]:
                assert filler.stdout.readline() == line
            time.sleep(rng.uniform(0.0, 0.5))
        finally:
            filler.send_signal(signal.SIGKILL)
            filler.communicate()
        store = FeatureStore(tmp_path)
        assert store.verify().ok
        assert store.stats().num_entries >= seen
        seen = store.stats().num_entries
    assert seen
    fresh, cached = vidweave.load("tiny-base"), vidweave.load("tiny-base", cache_folder=tmp_path)
    rng = np.random.default_rng(0)  # the first filler's clips
    for _ in range(2):
        clip = Clip(Frames.from_array(rng.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8), fps=2))
        assert ask(fresh, clip).options == ask(cached, clip).options
    assert cached.cache.store.stats().num_hits
