"""Every carrier prints in a line: shapes, dtypes and units, never the numbers themselves."""

import dataclasses
from types import ModuleType

import numpy as np
import pytest
import torch

import vidweave.types
from vidweave.media.motion import MotionMaps
from vidweave.media.plan import plan_frames
from vidweave.types import (
    Answer,
    Clip,
    Features,
    FrameNeed,
    Frames,
    FrameUse,
    ModelInputs,
    OptionScore,
    PanelSource,
    PointCloud,
    PrecomputedFeatures,
    Prefix,
    PromptPlan,
    Query,
    Scene,
    Selection,
    SelectorInputs,
    StreamInputs,
    TextTokens,
    Trace,
    Waveform,
    answer,
    media,
    query,
    tensors,
)
from vidweave.types.summary import MAX_CHARACTERS, Summarized

LONG = "word " * 500


def rows(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


def ids(*shape):
    return rows(*shape, dtype=torch.int64)


def mask(*shape):
    return rows(*shape, dtype=torch.bool)


def carriers():
    """One large value of each carrier, with everything filled in."""
    features = Features(rows(3, 50, 7, 11), mask(3, 50, 7), rows(3, 50, 2), ids(3), ids(3))
    entry = tensors.StoreEntry(LONG, {f"part {i}": LONG for i in range(40)})
    stream = StreamInputs(
        rows(3, 50, 1, 3, 8, 9), mask(3, 50), rows(3, 50, 2), ids(3), ids(3), LONG, None, (entry,) * 3
    )
    text = TextTokens(ids(3, 90), mask(3, 90))
    plan = PromptPlan(ids(3, 90), ids(3, 90), tuple((LONG, i, None) for i in range(99)), mask(3, 90), ((0, LONG),) * 50)
    selection = Selection(rows(3, 4), mask(3, 4), rows(3, 5, 2), rows(3, 5), reason=LONG, notes=((0, LONG),) * 50)
    selector = SelectorInputs(stream, text, rows(3, 60), mask(3, 60), ids(3), ids(3), 4)
    trace = Trace(
        frames=[FrameUse(i, i / 3) for i in range(500)],
        tokens={f"stream {i}": i for i in range(40)},
        seconds={f"stage {i}": i / 7 for i in range(40)},
        notes=[LONG] * 20,
        panels={"memory": {"weights": np.ones((90, 90)).tolist()}},
    )
    embeds = tensors.Embeds(rows(3, 70, 16), mask(3, 70), ids(3, 70), ids(3, 70))
    scores = tuple(OptionScore(LONG, -i / 3) for i in range(26))
    frames = Frames(np.zeros((60, 5, 7, 3), np.uint8), np.arange(60.0), np.arange(60), notes=(LONG,))
    wave = Waveform(np.zeros(16_000, np.float32), 8_000, 1.5, (LONG,))
    cloud = PointCloud(np.zeros((2_000, 3), np.float32), np.zeros((2_000, 6), np.float32), (LONG,))
    known = PrecomputedFeatures(np.zeros((90, 7, 11), np.float32), np.zeros((90, 2)), {LONG: LONG})
    clip = Clip(frames, audio=wave, point_cloud=cloud, depth="/x/" * 900, start_seconds=0.5, end_seconds=3, fps=2)
    streams = {f"stream {i}": stream for i in range(9)}
    inputs = ModelInputs(
        streams,
        {"selector": text},
        plan,
        3,
        tuple((i, 0) for i in range(300)),
        target=text,
        selection=selection,
        selector_inputs=selector,
        provenance={"video": [list(range(900))]},
    )
    scenes = tuple(Scene(f"{LONG} {i}", clip) for i in range(4))
    return [
        features,
        entry,
        stream,
        text,
        plan,
        selection,
        selector,
        trace,
        embeds,
        frames,
        wave,
        cloud,
        known,
        clip,
        inputs,
        *scores[:1],
        trace.frames[7],
        PanelSource(lambda item, full: None),
        Answer(LONG, scores, trace, (LONG,) * 5),
        Prefix(embeds, ((rows(3, 8, 70, 2),) * 2,) * 6, rows(3, 999)),
        tensors.Blocks(rows(3, 50, 7, 16), mask(3, 50, 7), rows(3, 50, 2), ids(3), ids(3)),
        scenes[0],
        Query(LONG, scenes, tuple(f"{i} {LONG}" for i in range(26)), {"frames": frames}),
    ]


def declared(module: ModuleType) -> set[type]:
    """Dataclasses of a module that are public, and `Clip`."""
    named = {getattr(module, name) for name in module.__all__}
    return {kind for kind in named if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or kind is Clip)}


def test_no_carrier_is_left_out():
    expected = set().union(*map(declared, (answer, media, query, tensors)))
    assert {type(value) for value in carriers()} == expected
    own = {vidweave.types.Frames, vidweave.types.Waveform, vidweave.types.PointCloud, Clip}
    assert all(issubclass(kind, Summarized) for kind in expected - own)


@pytest.mark.parametrize("value", carriers(), ids=lambda value: type(value).__name__)
def test_a_carrier_prints_in_a_short_line(value):
    text = repr(value)
    assert len(text) <= MAX_CHARACTERS == 400
    assert "\n" not in text
    assert text.startswith(type(value).__name__)


def test_what_is_printed():
    held = {type(value).__name__: repr(value) for value in carriers()}
    assert held["Frames"] == "Frames(uint8 (60, 5, 7, 3), 0.00..59.00 s)"
    assert held["Waveform"] == "Waveform(float32 (16000,), 8000 Hz, 2.00 s from 1.50 s on)"
    assert held["PointCloud"] == "PointCloud(float32 (2000, 3) in meters, features float32 (2000, 6))"
    assert held["TextTokens"] == "TextTokens(ids=int64 (3, 90), mask=bool (3, 90))"
    assert held["FrameUse"] == "FrameUse(index=7, pts_seconds=2.3333333333333335)"
    assert "streams={stream 0: StreamInputs(float32 (3, 50, 1, 3, 8, 9)), " in held["ModelInputs"]
    assert "frames=[500 FrameUse]" in held["Trace"]
    assert "tokens={stream 0: 0, stream 1: 1, stream 2: 2, stream 3: 3, 36 more}" in held["Trace"]
    assert "options=[26 OptionScore]" in held["Answer"]
    assert repr(Answer("yes")) == "Answer(text='yes')"
    assert repr(Query.about("a.mp4", "What?")) == "Query(text='What?', scenes=[1 Scene])"


def test_what_media_make_of_them_prints_the_same():
    maps = MotionMaps(np.zeros((9, 2, 30, 40), np.float32), np.zeros((9, 2)), [LONG] * 9)
    plan = plan_frames({"video": FrameNeed(num_frames=300)}, np.arange(900.0), 900.0)
    assert repr(maps).startswith("MotionMaps(values=float32 (9, 2, 30, 40), seconds=float64 (9, 2), notes=[9 str])")
    assert "indices=int64 (300,), streams={video: int64 (300,)}" in repr(plan)
    assert max(len(repr(maps)), len(repr(plan))) <= MAX_CHARACTERS
