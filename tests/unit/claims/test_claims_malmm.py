"""The claim about memories, with fake models: what forgets fails, and what cheats does too."""

import hashlib
import random

import numpy as np
import pytest
import torch

from benchmarks.claims import CLAIMS
from benchmarks.claims.items import toy_items
from benchmarks.claims.malmm import ASSETS, QUESTION_TYPES, Encoded, EncodedOnce, malmm
from vidweave.types import Answer, Clip, Frames, PrecomputedFeatures, Query, StreamInputs

SEED, EXAMPLES = 12, 40


def frame(query):
    return hashlib.sha256(query.scenes[0].clip["video"].values.tobytes()).hexdigest()


class Guesser:
    """Any option, by a die that question and clip throw; knows `share` of the answers if it sees the right clip."""

    def __init__(self, share=0.0, needs_clip=True):
        items = toy_items(SEED, EXAMPLES, QUESTION_TYPES)
        examples = [items[i].query for i in range(len(items))]
        self.known = {self.key(q, needs_clip): items[i].answer for i, q in enumerate(examples)}
        self.share, self.needs_clip = share, needs_clip

    def key(self, query, needs_clip):
        return query.text, frozenset(query.options), frame(query) if needs_clip else ""

    def answer(self, queries, **_):
        return [Answer(self.choose(query)) for query in queries]

    def choose(self, query):
        die = random.Random(query.text + frame(query))
        known = self.known.get(self.key(query, self.needs_clip))
        return known if known is not None and die.random() < self.share else die.choice(sorted(query.options))


@pytest.fixture(scope="module")
def blind():
    return Guesser()


def test_the_claim_is_registered_and_its_rows_are_named():
    assert CLAIMS.get("malmm") is malmm
    assert list(ASSETS) == ["memory", "fifo", "mean", "concat", "none"]


def test_a_memory_that_knows_beside_others_that_forget_holds(blind):
    claim = malmm(SEED, EXAMPLES, progress=False, models={**dict.fromkeys(ASSETS, blind), "memory": Guesser(1.0)})
    assert claim.ok
    names = [criterion.name for criterion in claim.criteria]
    assert names[:4] == [f"memory: {f} at least 20% above fifo" for f in QUESTION_TYPES] + [
        "memory: first at least 20% above none"
    ]
    assert list(claim.rows) == [*ASSETS, "another clip"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, "above fifo"),  # the memory guesses too
        ({"memory": 1.0, "fifo": 1.0}, "above fifo"),
        ({"memory": 1.0, "none": 1.0}, "above none"),
    ],
)
def test_it_fails_where_the_memory_is_no_better(blind, changes, failing):
    models = {**dict.fromkeys(ASSETS, blind), **{row: Guesser(share) for row, share in changes.items()}}
    claim = malmm(SEED, EXAMPLES, progress=False, models=models)
    assert any(failing in c.name and not c.ok for c in claim.criteria)
    assert not claim.ok


@pytest.mark.slow
def test_a_memory_that_needs_no_clip_fails(blind):
    cheat = Guesser(1.0, needs_clip=False)
    claim = malmm(SEED, EXAMPLES, progress=False, models={**dict.fromkeys(ASSETS, blind), "memory": cheat})
    assert any(c.name.startswith("another clip") and not c.ok for c in claim.criteria)


class Stub:
    """Its encoder counts what it looks at; a frame's feature is its mean."""

    def __init__(self):
        self.looked, self.asked = 0, []
        stream = type("Stream", (), {"need": "all", "encoder": "eye"})()
        self.spec = type("Spec", (), {"streams": {"video": stream}})()
        self.encoders, self.model = {"eye": self}, self

    def processor(self, query):
        frames = query.scenes[0].clip["video"]
        values = torch.from_numpy(frames.values.copy()).permute(0, 3, 1, 2)[None, :, None].float()
        seconds = torch.stack([torch.from_numpy(frames.pts_seconds)] * 2, -1)[None].float()
        row = torch.zeros(1, dtype=torch.long)
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        inputs = StreamInputs(modality="video", seconds=seconds, mask=mask, item=row, scene=row, values=values)
        return type("Inputs", (), {"streams": {"video": inputs}})()

    def encode(self, values, modality):
        self.looked += values.shape[1]
        return values.flatten(2).mean(-1)[..., None, None]

    def answer(self, queries, **_):
        self.asked += queries
        return [Answer("red") for _ in queries]


def test_equal_frames_are_encoded_once_for_all_rows():
    values = np.zeros((9, 4, 6, 3), np.uint8)
    values[3] = 50
    values[6] = 90
    query = Query.about(Clip(Frames.from_array(values, fps=2)), "What colour?", ("red", "blue"))
    known: dict[object, Encoded] = {}
    stub = Stub()
    for _ in range(2):
        EncodedOnce(stub, known).answer([query, query], trace=False)
    assert stub.looked == 3
    given = stub.asked[0].scenes[0].clip["video"]
    assert isinstance(given, PrecomputedFeatures)
    np.testing.assert_array_equal(given.values[:, 0, 0], [0, 0, 0, 50, 0, 0, 90, 0, 0])
    np.testing.assert_allclose(given.seconds[:, 0], np.arange(9) / 2)
    assert stub.asked[0].options == ("red", "blue")
