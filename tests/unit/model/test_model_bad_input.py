"""Questions, options, spans and arrays that cannot be asked: one typed error each; and batches of unlike clips."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.errors import (
    ConfigError,
    MediaDecodeError,
    MediaError,
    MediaTypeError,
    ModalityError,
    QueryError,
    ShapeError,
    UnknownNameError,
)
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Frames, PointCloud, PrecomputedFeatures, Query, Waveform

QUESTION = "what is the circle ?"


@pytest.fixture(scope="module")
def model():
    return with_processor(tiny_config("causal"))


def _features(segments=3, tokens=4, width=12, fill=0.5, seconds=None):
    seconds = (
        np.stack([np.arange(segments), np.arange(segments) + 1], 1).astype(np.float32) if seconds is None else seconds
    )
    return PrecomputedFeatures(np.full((segments, tokens, width), fill, np.float32), seconds)


@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        ("", QueryError, "the question is empty"),
        (" \n\t ", QueryError, "the question is empty"),
        ("red " * 10_000, QueryError, "10000 words, at most 2000"),
        ("r" * 40_001, QueryError, "40001 characters, at most 40000"),
        ("red " * 1_900, ShapeError, "the prompt has 19.. positions .* shorter question"),
        (None, QueryError, "the question must be a text, got None"),
        (b"what", QueryError, "the question must be a text, got b'what'"),
        ("what </s> is", QueryError, "contains '</s>', which the language model reads as a control token"),
        ("what \udc80 is", QueryError, "not valid Unicode"),
    ],
)
def test_a_question_that_cannot_be_asked(model, frames, question, error, message):
    with pytest.raises(error, match=message):
        SlotPipeline(model).ask(Clip(frames), question)


@pytest.mark.parametrize("question", ["what {question} {0} {} is {", "%s %d \\ \0", "<video> <image>", "何 ё 🐈"])
def test_a_question_is_never_a_template(model, frames, question):
    assert isinstance(SlotPipeline(model).ask(Clip(frames), question).text, str)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("red", "red"), "options repeat: 'red'"),
        (("red", " red"), "options repeat: 'red'"),
        (("red", " "), "option 2 is empty"),
        (("red",), "one option .* leaves no choice"),
        (("red", 3), "option 2 must be a text, got 3"),
        ("red", "options must be a list of texts, got 'red'"),
        (None, "options must be a list of texts, got None"),
    ],
)
def test_options_that_cannot_be_chosen_from(model, frames, options, message):
    with pytest.raises(QueryError, match=message):
        SlotPipeline(model).ask(Clip(frames), QUESTION, options=options)


@pytest.mark.parametrize(
    ("clip", "error", "message"),
    [
        (lambda f: Clip(f, vidio=f), UnknownNameError, "unknown modality 'vidio'; did you mean 'video'"),
        (lambda f: Clip(f, dept=f), UnknownNameError, "unknown modality 'dept'; did you mean 'depth'"),
        (lambda f: Clip(), ModalityError, "at least one modality"),
        (lambda f: Clip(3), MediaTypeError, "must be a path, bytes or a carrier, got int"),
        (lambda f: Clip(f.values), MediaTypeError, "must be a path, bytes or a carrier, got ndarray"),
        (lambda f: Clip(f, start_seconds=50.0), MediaError, "the span starts at 50.0 s"),
        (lambda f: Clip(f, start_seconds=float("nan")), ModalityError, "start_seconds must be a number of seconds"),
        (lambda f: Clip(f, end_seconds="2"), ModalityError, "end_seconds must be a number of seconds, got '2'"),
        (lambda f: Clip(_nan_picture(f)), MediaDecodeError, "not finite .*first in frame 2"),
        (lambda f: Clip(Frames(f.values[:0], f.pts_seconds[:0], f.indices[:0])), MediaDecodeError, "are empty"),
        (lambda f: Clip(Frames(f.values, f.pts_seconds * np.nan, f.indices)), ShapeError, "finite and ascending"),
        (lambda f: Clip(Frames(f.values, f.pts_seconds[::-1].copy(), f.indices)), ShapeError, "finite and ascending"),
        (lambda f: Clip(_features(fill=np.nan)), ShapeError, "features of stream 'video' hold NaN"),
        (lambda f: Clip(_features(seconds=np.full((3, 2), np.inf))), ShapeError, "infinite values or times"),
        (lambda f: Clip(_features(segments=0)), ShapeError, "at least one token"),
        (lambda f: Clip(_features(tokens=0)), ShapeError, "at least one token"),
        (lambda f: Clip(_features(width=7)), ModalityError, "7 wide, those of encoder 'rgb' 12"),
        (lambda f: Clip(PrecomputedFeatures(np.ones((3, 4, 12), int), np.ones((3, 2)))), ShapeError, "int64 of shape"),
        (lambda f: Clip(PrecomputedFeatures([[1]], np.ones((1, 2)))), ShapeError, "must be an array, got list"),
        (lambda f: Clip(Frames([1], [0], [0])), ShapeError, "frames must be an array, got list"),
        (lambda f: Clip(audio=Waveform([0.0], 8)), ShapeError, "a waveform must be an array, got list"),
        (lambda f: Clip(point_cloud=PointCloud([0.0])), ShapeError, "coordinates must be an array, got list"),
    ],
)
def test_a_clip_that_cannot_be_read(model, frames, clip, error, message):
    with pytest.raises(error, match=message):
        SlotPipeline(model).ask(clip(frames), QUESTION)


def _nan_picture(frames):
    values = frames.values.astype(np.float32)
    values[2] = np.nan
    return Frames.from_array(values, fps=5)


@pytest.mark.parametrize("number", [0, -3])
def test_a_number_of_frames_that_cannot_be_shown(model, frames, number):
    with pytest.raises(ConfigError, match=f"num_frames must be at least 1, got {number}"):
        SlotPipeline(model).ask(Clip(frames), QUESTION, num_frames=number)


def test_more_frames_than_there_are(model, frames):
    message = "10 frames were requested, the video has 7 in the chosen span; request at most 7"
    with pytest.raises(MediaError, match=message):
        SlotPipeline(model).ask(Clip(frames), QUESTION, num_frames=10)
    with pytest.raises(MediaError, match="the video has 2 in the chosen span"):
        SlotPipeline(model).ask(Clip(frames, start_seconds=1.0), QUESTION, num_frames=3)
    frame = Frames(frames.values[:1], frames.pts_seconds[:1], frames.indices[:1])
    assert SlotPipeline(model).ask(Clip(image=frame), QUESTION, num_frames=2).text


def test_what_is_no_query_is_named(model, frames):
    with pytest.raises(QueryError, match=r"expected queries, got 'x'; use ask\(clip, question\)"):
        SlotPipeline(model).answer("x")
    with pytest.raises(QueryError, match="no queries"):
        SlotPipeline(model).answer([])
    with pytest.raises(QueryError, match="trace must be True, False or 'full', got 'fulll'"):
        SlotPipeline(model).ask(Clip(frames), QUESTION, trace="fulll")


def test_unlike_clips_are_answered_as_if_one_by_one(model, frames):
    """Frames, a video and given features feed one stream; none of them can share a batch with another."""
    frame = Frames(frames.values[:1], frames.pts_seconds[:1], frames.indices[:1])
    clips = [Clip(frames), Clip(image=frame), Clip(_features()), Clip(frames, end_seconds=0.7), Clip(image=frame)]
    queries = [Query.about(clip, QUESTION, ("red", "blue")) for clip in clips]
    together = SlotPipeline(model).answer(queries)
    alone = [SlotPipeline(model).answer(query)[0] for query in queries]
    for ours, theirs in zip(together, alone, strict=True):
        scores = [torch.tensor([o.score for o in sorted(a.options, key=lambda o: o.text)]) for a in (ours, theirs)]
        torch.testing.assert_close(*scores, atol=2e-5, rtol=1e-4)
        assert [use.index for use in ours.trace.frames] == [use.index for use in theirs.trace.frames]


def test_features_of_unlike_shapes_in_one_batch_are_named(model):
    queries = [Query.about(Clip(_features(tokens=n)), QUESTION) for n in (4, 5)]
    with pytest.raises(ShapeError, match=r"stream 'video' gets segments of the shapes \[\(4, 12\), \(5, 12\)\]"):
        SlotPipeline(model).answer(queries)
