"""The claim about toy-world Contra4 with fake models: what counts passes, what does not look fails."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from benchmarks.claims import contra4 as module
from benchmarks.claims.contra4 import contra4, toy_questions
from vidweave.contra4.toy import toy_clip, toy_facts
from vidweave.types import Answer, OptionScore, Waveform

SEED, EXAMPLES = 5, 30


@pytest.fixture(scope="module")
def questions():
    return toy_questions(SEED, EXAMPLES)


@pytest.fixture(autouse=True)
def _made_once(monkeypatch, questions):
    monkeypatch.setattr(module, "toy_questions", lambda seed, count: questions)


def seen(clip) -> str:
    """What a clip shows besides a grey video, as a key."""
    source = clip["audio"] if "audio" in clip else clip["video"]
    values = source.samples if isinstance(source, Waveform) else source.values
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


class Counter:
    """Knows how many things or beeps there are in every scene of the questions; of others it knows nothing."""

    def __init__(self, questions) -> None:
        scenes = [scene for question in questions for scene in question.scenes]
        self.known = {seen(toy_clip(scene)): str(toy_facts(scene).count) for scene in scenes}

    def describe(self):
        return {"model": "counter"}

    def answer(self, queries, **_):
        return [self._one(query) for query in queries]

    def _one(self, query) -> Answer:
        assert "video" in query.scenes[0].clip  # never missing
        count = self.known.get(seen(query.scenes[0].clip))
        scores = [OptionScore(o, math.log(0.91 if o == count else 0.03)) for o in query.options]
        return Answer(scores[0].text, tuple(scores))


def test_a_model_that_counts_holds_the_claim(questions):
    claim = contra4(SEED, EXAMPLES, progress=False, model=Counter(questions))
    assert np.mean(claim.scores("tiny-crema")) == 1.0
    leads = [c for c in claim.criteria if "above" in c.name]
    assert len(leads) == 3
    assert all(c.ok for c in leads)
    assert set(claim.rows) >= {"tiny-crema", "question alone", "other scenes", "always A", "longest caption"}


def test_a_model_that_knows_nothing_fails_it(questions):
    claim = contra4(SEED, EXAMPLES, progress=False, model=Counter([]))
    assert min(c.p_value for c in claim.criteria if "above" in c.name) < 0.01  # 30 items alone cannot reject five


def test_questions_are_of_the_seed_and_balanced(questions):
    assert len(questions) == EXAMPLES
    assert {m for q in questions for m in q.modalities} == {"audio", "video"}
    assert 0.2 < np.mean([q.answer == 0 for q in questions]) < 0.8
    assert 0.2 < np.mean([q.modalities[q.answer] == "audio" for q in questions]) < 0.8
