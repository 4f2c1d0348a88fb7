"""A selector that watches motion, in a whole model: from a file to timestamps, an answer, and their account."""

import json

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, toy_tokenizer

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import MediaTypeError, ModalityError
from vidweave.media import open as open_module
from vidweave.media.write import write_video
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import StreamConfig
from vidweave.model.processor import Processor
from vidweave.pipelines.selecting import MAX_STEPS, describe_row
from vidweave.pipelines.slot import SlotPipeline
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.types import Clip, FrameNeed, Frames, MotionSpec, Query, Scene, Selection, TextSpec, VisualSpec

QUESTION = "what colour is the circle ?"


def motion_model(family="causal", fallback="reencode", source="motion_vectors", **changes):
    specs = {
        "video": MotionSpec(source=source, fps=10, height=4, width=6, fallback=fallback),
        "flow": MotionSpec(source="flow", fps=10, height=4, width=6),
    }
    pixels = VisualSpec(height=16, width=16)
    config = tiny_config(
        family,
        encoders={
            "motion": MotionEncoderConfig(height=4, width=6, patch=2, specs=specs),
            "rgb": PatchEncoderConfig(size=16, patch=8, width=12, layers=1, heads=2, specs={"video": pixels}),
        },
        streams={
            "motion": StreamConfig(encoder="motion", modalities=("flow", "video"), role="selector"),
            "video": StreamConfig(encoder="rgb", modalities=("video",), need=FrameNeed(num_frames=3)),
        },
        selector=GroundingSelectorConfig(
            hidden=12,
            layers=2,
            fusion_layer=0,
            heads=2,
            intermediate=20,
            vocab_size=40,
            motion_width=8,
            num_patches=6,
            text_spec=TextSpec(tokenizer="language", max_tokens=16),
        ),
        **changes,
    )
    torch.manual_seed(0)
    model = VideoLanguageModel(config).eval()
    for name, parameter in model.selector.named_parameters():  # larger than they begin: scores that tell steps apart
        if parameter.ndim > 1 and "words" not in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.processor = Processor(config, {"language": toy_tokenizer()})
    return model


def moving(count=24):
    frames = np.full((count, 32, 48, 3), 30, np.uint8)
    for i in range(count):
        x = 2 + max(0, min(i - 8, 8)) * 3  # moves in the middle of the clip
        frames[i, 10:22, x : x + 12] = np.arange(12, dtype=np.uint8)[:, None] * 18 + 40
    return Frames.from_array(frames, fps=10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "moving.mp4", moving(), fps=10)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_an_answer_reports_which_timestamps_and_why(family, clip):
    trace = SlotPipeline(motion_model(family)).ask(clip, QUESTION).trace
    assert {use.why for use in trace.frames} == {"grounding"}
    assert len(trace.frames) == 3
    panel = trace.panels["selection"]
    assert panel["reason"] == "grounding"
    info = panel["scenes"][""]
    assert info["seconds"] == pytest.approx([use.pts_seconds for use in trace.frames])
    assert len(info["steps"]) == len(info["energy"]) == len(info["probability"]) == 23
    still = [e for t, e in zip(info["steps"], info["energy"], strict=True) if t < 0.75 or t > 1.75]
    assert max(still) < 0.2 * max(info["energy"])
    assert info["spans"][0]["start"] <= info["spans"][0]["end"]
    assert trace.notes == []
    json.dumps(trace.to_dict())


def test_motion_vectors_are_estimated_by_name_or_refused():
    frames = moving()
    trace = SlotPipeline(motion_model()).ask(Clip(video=frames), QUESTION).trace
    assert [note for note in trace.notes if "estimated by re-encoding 10 frames per second" in note]
    with pytest.raises(MediaTypeError, match="not a video file, so it has no motion vectors"):
        SlotPipeline(motion_model(fallback="error")).ask(Clip(video=frames), QUESTION)


def test_flow_that_was_given_is_watched_in_place_of_the_video(clip):
    model, flow = motion_model(), np.zeros((24, 4, 6, 2), np.float32)
    flow[3] = 2.0
    trace = SlotPipeline(model).ask(Clip(clip, flow=Frames.from_array(flow, fps=10)), QUESTION).trace
    energy = trace.panels["selection"]["scenes"][""]["energy"]
    assert np.flatnonzero(energy).tolist() == [3]


def test_pooled_vectors_and_notes_are_kept(tmp_path, monkeypatch):
    model, frames = motion_model(), moving()
    pipe = SlotPipeline(model, cache_folder=tmp_path)
    first = pipe.ask(Clip(video=frames), QUESTION)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    first = pipe.ask(Clip(video=frames), QUESTION)

    def never(*_):
        raise AssertionError("motion is read again")

    monkeypatch.setattr(open_module, "read_motion", never)
    again = pipe.ask(Clip(video=frames), QUESTION)
    assert again.trace.panels["selection"] == first.trace.panels["selection"]
    assert again.trace.notes == first.trace.notes
    assert "estimated" in again.trace.notes[0]


def test_one_frame_and_no_motion_are_reported():
    one = Frames.from_array(moving().values[:1], fps=10)
    trace = SlotPipeline(motion_model()).ask(Clip(video=one), QUESTION).trace
    assert "motion: the clip has one frame, so there is no motion" in trace.notes
    assert {use.index for use in trace.frames} == {0}
    still = Frames.from_array(np.repeat(moving().values[:1], 9, 0), fps=10)
    trace = SlotPipeline(motion_model()).ask(Clip(video=still), QUESTION).trace
    assert "motion: nothing moves in the video" in trace.notes


def test_a_batch_equals_one_by_one(clip):
    model = motion_model()
    short = write_video(clip.with_name("short.mp4"), Frames.from_array(moving().values[5:17], fps=10), fps=10)
    queries = [Query.about(clip, QUESTION), Query.about(short, "it moves left"), Query.about(clip, "which is red ?")]
    together = SlotPipeline(model).answer(queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = SlotPipeline(model).answer(query)
        assert answer.text == alone.text
        assert answer.trace.panels["selection"]["scenes"][""]["seconds"] == pytest.approx(
            alone.trace.panels["selection"]["scenes"][""]["seconds"]
        )


def test_every_scene_of_a_query_gets_the_question(clip):
    model = motion_model()
    query = Query(QUESTION, (Scene("A", Clip(clip)), Scene("B", Clip(clip, start_seconds=0.5))))
    with model.processor.prepare([Query.about(clip, "it moves left"), query]) as prepared:
        selection = model.select(prepared)
    (alone,) = SlotPipeline(model).answer(Query.about(clip, QUESTION))
    info = describe_row(selection, 1, prepared.energy)
    assert info == alone.trace.panels["selection"]["scenes"][""]


def test_a_clip_without_what_the_selector_watches_is_refused():
    model = motion_model()
    model.processor.spec.streams["motion"] = StreamConfig(encoder="motion", modalities=("flow",), role="selector")
    with pytest.raises(ModalityError, match="the selector watches flow, and a clip has none"):
        SlotPipeline(model).ask(Clip(video=moving()), QUESTION)


def test_curves_stay_small():
    length = 3 * MAX_STEPS + 5
    selection = Selection(
        seconds=torch.tensor([[1.0]]),
        mask=torch.ones(1, 1, dtype=torch.bool),
        spans=torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]),
        scores=torch.tensor([[0.7, 0.0]]),
        logits=torch.zeros(1, length, 2),
        steps=torch.arange(length)[None, :, None].expand(1, length, 2).float(),
        step_mask=torch.ones(1, length, dtype=torch.bool),
        reason="grounding",
    )
    energy = torch.zeros(1, length)
    energy[0, 400] = 5.0
    info = describe_row(selection, 0, energy)
    assert len(info["steps"]) == len(info["energy"]) == len(info["probability"]) == MAX_STEPS
    assert max(info["energy"]) == 5.0
    assert info["spans"] == [{"start": 0.0, "end": 1.0, "score": pytest.approx(0.7)}]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_chooses_the_same_timestamps(dtype, clip, tmp_path):
    exact = motion_model()
    exact.save_pretrained(tmp_path)
    half = VideoLanguageModel.from_pretrained(tmp_path, dtype=dtype).eval()
    assert half.selector.bridge.span_head.weight.dtype == dtype
    expected, got = (SlotPipeline(model).ask(clip, QUESTION, options=("red", "blue")) for model in (exact, half))
    assert [use.index for use in got.trace.frames] == [use.index for use in expected.trace.frames]
    assert {o.text: o.score for o in got.options} == pytest.approx({o.text: o.score for o in expected.options}, abs=0.2)
    half.requires_grad_(False)
    pipe = SlotPipeline(half, cache_folder=tmp_path / "features")
    for _ in range(2):  # computed, then known
        assert pipe.ask(clip, QUESTION, options=("red", "blue")).options == got.options
