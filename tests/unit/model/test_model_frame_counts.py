"""How many frames each stream sees: one number, a list, or a mapping."""

import numpy as np
import pytest

import vidweave
from vidweave.errors import ConfigError, MediaError, UnknownNameError
from vidweave.model.frame_counts import counts_by_stream
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, FrameNeed, Frames

NEEDS = {"a": FrameNeed(num_frames=4), "b": FrameNeed(num_frames=6, window=2), "slow": FrameNeed(fps=1.0)}


@pytest.mark.parametrize(
    ("requested", "counts"),
    [
        (None, {}),
        (8, {"a": 8, "b": 8}),
        (np.int64(8), {"a": 8, "b": 8}),
        ([5, 8], {"a": 5, "b": 8}),
        ((5, 8), {"a": 5, "b": 8}),
        ({"b": 2}, {"b": 2}),
        ({}, {}),
    ],
)
def test_each_stream_has_its_number(requested, counts):
    assert counts_by_stream(requested, NEEDS) == counts


@pytest.mark.parametrize(
    ("requested", "error", "message"),
    [
        (
            [16, 16, 32, 16],
            ConfigError,
            r"num_frames has 4 numbers, the model has 2 streams .* \(a, b\); give one for each",
        ),
        ([], ConfigError, "num_frames has 0 numbers"),
        (0, ConfigError, "num_frames must be at least 1, got 0"),
        ([4, -2], ConfigError, "got -2"),
        (True, ConfigError, "num_frames must be a whole number, a list with one for each stream, .* got True"),
        (4.5, ConfigError, r"got 4\.5"),
        ("16", ConfigError, "got '16'"),
        ({"a": None}, ConfigError, "got None"),
        ({"c": 4}, UnknownNameError, "unknown stream with a number of frames 'c'; known: a, b"),
        ({"slow": 4}, UnknownNameError, "'slow'; known: a, b"),
    ],
)
def test_what_is_no_number_of_frames_is_refused(requested, error, message):
    with pytest.raises(error, match=message):
        counts_by_stream(requested, NEEDS)


def test_a_model_with_several_encoders_samples_each_number_of_frames():
    model = vidweave.load("tiny-merv").model
    names = list(model.spec.connector_streams)
    assert len(names) == 3
    requested = {name: 4 * stream.need.window for name, stream in model.spec.connector_streams.items()}
    frames = np.random.default_rng(7).integers(0, 255, (37, 52, 44, 3), dtype=np.uint8)
    clip = Clip(Frames.from_array(frames, fps=8))
    ask = {"question": "What pattern has the triangle?", "options": ["striped", "plain"]}
    by_name = SlotPipeline(model).ask(clip, num_frames=requested, **ask)
    by_order = SlotPipeline(model).ask(clip, num_frames=list(requested.values()), **ask)
    assert by_order.options == by_name.options
    seen = {name: sum(use.stream == name for use in by_name.trace.frames) for name in names}
    assert seen == requested
    with pytest.raises(ConfigError, match=r"num_frames has 2 numbers, the model has 3 streams"):
        SlotPipeline(model).ask(clip, num_frames=[16, 16], **ask)
    with pytest.raises(MediaError, match="64 frames were requested, the video has 37"):
        SlotPipeline(model).ask(clip, num_frames={names[0]: 64}, **ask)
