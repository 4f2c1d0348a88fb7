"""Scores of single frames: as if each had been asked about alone, on both language families."""

import math

import numpy as np
import pytest

from vidweave.errors import ConfigError
from vidweave.evaluation.overlap import unigram_recall
from vidweave.pipelines.frame_scores import FrameScorer
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Frames, Query

QUESTION = "what colour is the circle ?"


def alone(frames, index):
    return Clip(video=Frames(frames.values[[index]], frames.pts_seconds[[index]], np.zeros(1, np.int64)))


@pytest.mark.parametrize("batch_size", [2, 9])
def test_likelihood_among_options_is_that_of_each_frame_alone(model, frames, batch_size):
    options = ("red", "blue", "green")
    scorer = FrameScorer(SlotPipeline(model), num_candidates=4, batch_size=batch_size)
    query = Query.about(Clip(video=frames), QUESTION, options)
    seconds, (scores,) = scorer(query.scenes[0].clip, [query], ["blue"])
    picked = [0, 2, 4, 6]  # middles of four parts of seven
    assert seconds == pytest.approx([0.2 * i for i in picked])
    for index, score in zip(picked, scores, strict=True):
        result = {
            o.text: o.score
            for o in SlotPipeline(model).ask(alone(frames, index), QUESTION, options=options, num_frames=1).options
        }
        total = sum(math.exp(s) for s in result.values())
        assert score == pytest.approx(math.exp(result["blue"]) / total, abs=1e-4)


def test_likelihood_of_an_open_answer_is_per_token(model, frames):
    scorer = FrameScorer(SlotPipeline(model), num_candidates=3)
    query = Query.about(Clip(video=frames), QUESTION)
    _, (scores,) = scorer(query.scenes[0].clip, [query], ["it moves left"])
    assert len(scores) == 3
    assert all(0 < score < 1 for score in scores)


def test_written_answers_are_measured(model, frames):
    query = Query.about(Clip(video=frames), QUESTION)
    reply = []

    def measure(expected, given):
        reply.append(given)
        return unigram_recall(expected, given)

    scorer = FrameScorer(SlotPipeline(model), num_candidates=3, measure=measure, max_new_tokens=4)
    _, (scores,) = scorer(query.scenes[0].clip, [query], ["red circle"])
    expected = [SlotPipeline(model).ask(alone(frames, i), QUESTION, num_frames=1).text for i in (1, 3, 5)]
    assert reply == expected
    assert scores == [unigram_recall("red circle", text) for text in expected]


def test_a_clip_is_encoded_once_for_all_questions(model, frames, monkeypatch):
    looks = []
    encode = model.encoders["rgb"].encode
    monkeypatch.setattr(model.encoders["rgb"], "encode", lambda *a: looks.append(a) or encode(*a))
    queries = [Query.about(Clip(video=frames), text, ("red", "blue")) for text in (QUESTION, "it moves ?")]
    _, scores = FrameScorer(SlotPipeline(model), num_candidates=32)(queries[0].scenes[0].clip, queries, ["red", "blue"])
    assert len(looks) == 1
    assert [len(row) for row in scores] == [7, 7]


def test_nothing_to_score_with_is_refused(model):
    with pytest.raises(ConfigError, match="at least one candidate and one per batch, got 0 and 32"):
        FrameScorer(SlotPipeline(model), num_candidates=0)
