"""Streams: pushing in pieces is asking the whole clip, errors leave them as they were, files bring them back."""

import numpy as np
import pytest
import torch
from test_systems_blip2 import NUM_QUERIES, QFORMER, VISION, _shake, _text_config, _tokenizer
from test_systems_malmm import folder  # noqa: F401 (a fixture)
from transformers import Blip2Config, Blip2ForConditionalGeneration

import vidweave
from vidweave.connectors.saving import flatten, unflatten
from vidweave.errors import (
    CheckpointError,
    MediaDecodeError,
    MediaTypeError,
    ModalityError,
    QueryError,
    ShapeError,
)
from vidweave.pipelines.live import Stream
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.malmm.checkpoint import plug_in
from vidweave.types import Clip, Frames, PrecomputedFeatures

QUESTION, OTHER = "what is the colour of a cat ?", "what in here is red ?"
OPTIONS = ("red", "blue", "green")


@pytest.fixture
def asked(folder):  # noqa: F811
    """The question is part of the memory."""
    return plug_in(vidweave.load(folder).model, length=3, num_frames=8)


@pytest.fixture
def free(tmp_path):
    """BLIP-2: the Q-Former reads no text."""
    text = _text_config("opt").to_dict()
    config = Blip2Config(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=text,
        num_query_tokens=NUM_QUERIES,
        image_token_index=59,
    )
    torch.manual_seed(3)
    model = Blip2ForConditionalGeneration(config).eval()
    _shake(model)
    model.save_pretrained(tmp_path / "free")
    _tokenizer(False).save_pretrained(tmp_path / "free")
    return plug_in(vidweave.load(tmp_path / "free").model, length=3, num_frames=8)


def frames(count=8, seed=6):
    rng = np.random.default_rng(seed)
    return Frames.from_array(rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8), fps=2)


def cut(whole, start, end):
    return Frames(whole.values[start:end], whole.pts_seconds[start:end], whole.indices[start:end])


def scores(answer):
    return torch.tensor([option.score for option in sorted(answer.options, key=lambda o: o.text)])


def expect_equal(got, expected):
    torch.testing.assert_close(scores(got), scores(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pieces", [[8], [1] * 8, [3, 1, 4]])
def test_pieces_are_the_clip(asked, pieces):
    whole = frames()
    stream, start = SlotPipeline(asked).stream(QUESTION), 0
    for length in pieces:
        stream.push(cut(whole, start, start + length))
        start += length
    answer = stream.ask(QUESTION, options=OPTIONS)
    expect_equal(answer, SlotPipeline(asked).ask(Clip(whole), QUESTION, options=OPTIONS))
    assert answer.trace.notes == []
    assert answer.trace.tokens["video"] == NUM_QUERIES
    assert answer.trace.panels["stream"] == {"segments": {"video": 8}, "seconds": {"video": 3.5}, "exact": True}
    assert [use.index for use in answer.trace.frames] == list(range(8))


def test_asking_at_any_time_changes_nothing(asked):
    whole, stream = frames(), SlotPipeline(asked).stream([QUESTION, OTHER])
    for index in range(8):
        stream.push(cut(whole, index, index + 1))
        for question in (QUESTION, OTHER):
            expected = SlotPipeline(asked).ask(
                Clip(cut(whole, 0, index + 1)), question, options=OPTIONS, num_frames=index + 1
            )
            expect_equal(stream.ask(question, options=OPTIONS), expected)


def test_without_text_every_question_is_exact(free):
    whole, stream = frames(), SlotPipeline(free).stream()
    stream.push(whole)
    for question in (QUESTION, OTHER):
        answer = stream.ask(question, options=OPTIONS)
        expect_equal(answer, SlotPipeline(free).ask(Clip(whole), question, options=OPTIONS))
        assert answer.trace.panels["stream"]["exact"]


def test_questions_after_the_fact_are_answered_and_flagged(asked):
    whole = frames(3)
    stream = SlotPipeline(asked).stream()
    stream.push(whole)
    answer = stream.ask(QUESTION, options=OPTIONS)
    assert not answer.trace.panels["stream"]["exact"]
    assert any("approximate" in note for note in answer.trace.notes)
    # two segments in a bank of three: nothing was merged, so that nothing is lost
    expect_equal(answer, SlotPipeline(asked).ask(Clip(whole), QUESTION, options=OPTIONS, num_frames=3))
    stream.push(cut(frames(), 3, 8))
    expect_equal(stream.ask(QUESTION, options=OPTIONS), stream.ask(QUESTION, options=OPTIONS))


def test_streams_do_not_touch_each_other(asked):
    first, second = SlotPipeline(asked).stream(QUESTION), SlotPipeline(asked).stream(QUESTION)
    first.push(frames(5, 1))
    second.push(frames(5, 2))
    first.push(cut(frames(8, 1), 5, 8))
    expect_equal(
        first.ask(QUESTION, options=OPTIONS), SlotPipeline(asked).ask(Clip(frames(8, 1)), QUESTION, options=OPTIONS)
    )


def test_an_exception_in_the_middle_leaves_the_stream_as_it_was(asked, monkeypatch):
    stream = SlotPipeline(asked).stream([QUESTION, OTHER])
    stream.push(cut(frames(), 0, 5))
    before = stream.ask(QUESTION, options=OPTIONS)
    calls = iter([True, False])
    push = asked.connector.push

    def fails_at_the_second_question(*arguments):
        if not next(calls):
            raise RuntimeError("out of memory")
        return push(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(asked.connector, "push", fails_at_the_second_question)
        with pytest.raises(RuntimeError, match="out of memory"):
            stream.push(cut(frames(), 5, 8))
    assert stream.segments == {"video": 5}
    expect_equal(stream.ask(QUESTION, options=OPTIONS), before)
    stream.push(cut(frames(), 5, 8))
    expect_equal(
        stream.ask(QUESTION, options=OPTIONS), SlotPipeline(asked).ask(Clip(frames()), QUESTION, options=OPTIONS)
    )


@pytest.mark.parametrize("kind", ["asked", "free"])
def test_save_and_load(kind, request, tmp_path):
    model = request.getfixturevalue(kind)
    stream = SlotPipeline(model).stream([QUESTION, OTHER])
    stream.push(cut(frames(), 0, 6))
    stream.save(tmp_path / "state.safetensors")
    again = Stream.load(model, model.processor, tmp_path / "state.safetensors")
    assert (again.segments, again.questions) == (stream.segments, stream.questions)
    for one in (stream, again):
        one.push(cut(frames(), 6, 8))
    expect_equal(again.ask(OTHER, options=OPTIONS), stream.ask(OTHER, options=OPTIONS))
    with torch.no_grad():
        model.connector.ports["video"].query_tokens.add_(0.1)
    with pytest.raises(CheckpointError, match="the state of a model with other weights"):
        Stream.load(model, model.processor, tmp_path / "state.safetensors")


def test_the_state_does_not_grow(asked):
    stream, sizes = SlotPipeline(asked).stream(QUESTION), []
    for index in range(12):
        stream.push(cut(frames(12), index, index + 1))
        sizes.append(sum(t.numel() * t.element_size() for t in flatten(stream._states)[1].values()))
    assert len(set(sizes[1:])) == 1


def test_rates_spans_and_features(asked):
    whole = frames(16)
    stream = SlotPipeline(asked).stream(QUESTION)
    stream.push(Clip(whole, end_seconds=4.0), fps=1)
    assert stream.segments == {"video": 4}
    stream.push(PrecomputedFeatures(np.ones((2, 5, 24), np.float32), np.array([[4.0, 5.0], [5.0, 6.0]])))
    assert stream.segments == {"video": 6}
    assert stream.ask(QUESTION, max_new_tokens=2, num_beams=1, trace=False).trace is None


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((2, 28, 28, 3), np.int64), MediaTypeError, "holds int64, but frames must be uint8"),
        (np.zeros((2, 28, 28, 3), np.float32), ShapeError, "float frames .* need a spec with value_range"),
        (np.zeros((2, 28, 28, 5), np.uint8), MediaTypeError, r"has shape \(2, 28, 28, 5\); frames must be"),
        (np.zeros((0, 28, 28, 3), np.uint8), MediaDecodeError, "the given frames are empty"),
        (PrecomputedFeatures(np.zeros((0, 5, 24), np.float32), np.zeros((0, 2))), ShapeError, "at least one token"),
        (PrecomputedFeatures(np.zeros((1, 5, 9), np.float32), np.array([[9.0, 10.0]])), ModalityError, "are 9 wide"),
        (
            PrecomputedFeatures(np.zeros((1, 5, 24), np.int32), np.array([[9.0, 10.0]])),
            ShapeError,
            "floats were expected",
        ),
    ],
    ids=["dtype", "float", "channels", "empty", "no features", "width", "feature dtype"],
)
def test_what_is_no_frame_is_refused_and_the_stream_goes_on(asked, source, error, message):
    stream = SlotPipeline(asked).stream(QUESTION)
    stream.push(cut(frames(), 0, 4))
    before = stream.ask(QUESTION, options=OPTIONS)
    if isinstance(source, np.ndarray):
        source = Frames(source, 4.0 + np.arange(len(source)), np.arange(len(source)))
    with pytest.raises(error, match=message):
        stream.push(source)
    expect_equal(stream.ask(QUESTION, options=OPTIONS), before)
    larger = Frames(np.zeros((1, 60, 40, 3), np.uint8), np.array([20.0]), np.array([9]))
    stream.push(larger)  # frames of any size are brought to that of the encoder
    assert stream.segments == {"video": 5}


def test_an_empty_clip_is_named(asked):
    with pytest.raises(MediaDecodeError, match="the given frames are empty"):
        SlotPipeline(asked).ask(Clip(Frames.from_array(np.zeros((0, 28, 28, 3), np.uint8), fps=2)), QUESTION)


def test_faults(asked, tmp_path):
    stream = SlotPipeline(asked).stream(QUESTION)
    with pytest.raises(QueryError, match="nothing was pushed into this stream yet"):
        stream.ask(QUESTION)
    stream.push(cut(frames(), 2, 4))
    with pytest.raises(ShapeError, match=r"pushed up to 1\.500 s and now gets 0\.000 s; push in order of time"):
        stream.push(frames())
    bad = np.ones((1, 5, 24), np.float32)
    bad[0, 2, 3] = np.nan
    with pytest.raises(ShapeError, match="features of stream 'video' hold NaN or infinite values"):
        stream.push(PrecomputedFeatures(bad, np.array([[9.0, 10.0]])))
    with pytest.raises(ModalityError, match="depth was given"):
        stream.push(Clip(depth=frames()))
    assert stream.segments == {"video": 2}
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors holds no stream that can be read"):
        Stream.load(asked, asked.processor, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match="holds no state of a stream"):
        unflatten({"class": "Popen", "fields": {}}, {})
    with pytest.raises(CheckpointError, match="a state with a object inside cannot be saved"):
        flatten({"memory": object()})
