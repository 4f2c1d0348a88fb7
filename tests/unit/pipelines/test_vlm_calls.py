"""Calls of a pipeline of a vision-language model: options of one call, conversations, streams, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from tiny_vlms import clip_at

import vidweave
from vidweave.errors import (
    CancelledError,
    ConfigError,
    MediaError,
    MediaLimitError,
    ModalityError,
    NotStreamableError,
    QueryError,
    ShapeError,
    UnknownNameError,
)
from vidweave.media.limits import DEFAULT_LIMITS
from vidweave.pipelines.frame_selection.motion import MotionFrames
from vidweave.types import Clip, Frames, PrecomputedFeatures, Query, Waveform

QUESTION, OPTIONS = "Which colour is it?", ("red", "blue")
NOISE = Waveform(np.zeros(800, np.float32), 8000)


def test_the_trace_tells_frames_tokens_seconds_and_budget(vlm, uneven):
    trace = vlm("qwen3_vl").ask(uneven, QUESTION, num_frames=4, max_new_tokens=2).trace
    assert [use.stream for use in trace.frames] == ["video"] * 4
    (budget,) = trace.panels["budget"]
    assert trace.tokens["video"] == budget["tokens"] == 4 * (budget["height"] // 32) * (budget["width"] // 32)
    assert trace.tokens["text"] > 20
    assert {"select", "decode", "preprocess", "answer"} <= set(trace.seconds)
    assert json.loads(json.dumps(trace.to_dict()))["panels"]["budget"][0]["max_pixels"] == budget["max_pixels"]


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "glm46v", "video_llama_3"])
def test_max_pixels_lowers_the_tokens(name, vlm):
    clip = clip_at([0.0, 1.0], size=(120, 160))
    usual, small = (
        vlm(name).ask(clip, QUESTION, max_new_tokens=1, **more) for more in ({}, {"max_pixels": 2 * 32 * 64})
    )
    assert small.trace.tokens["video"] < usual.trace.tokens["video"]
    assert small.trace.panels["budget"][0]["max_pixels"] == 2 * 32 * 64


def test_frames_follow_the_selector_and_the_number(vlm, uneven):
    pipe = vlm("llava_onevision")
    uniform = pipe.ask(uneven, QUESTION, num_frames=2, max_new_tokens=1)
    named = pipe.ask(uneven, QUESTION, num_frames=2, selector="uniform", max_new_tokens=1)
    assert [u.index for u in uniform.trace.frames] == [u.index for u in named.trace.frames] == [2, 6]
    assert named.trace.panels["selection"]["reason"] == "uniform"
    everything = pipe.ask(uneven, QUESTION, max_new_tokens=1)  # fewer frames than the model's own number
    assert [use.index for use in everything.trace.frames] == list(range(9))


def test_motion_peaks_need_no_model(vlm):
    values = np.zeros((20, 16, 16, 3), np.uint8)
    values[5:, :8] = 200  # changes from 1.0 s to 1.25 s, and from 3.25 s to 3.5 s
    values[14:, 8:] = 200
    clip = Clip(Frames.from_array(values, fps=4.0))
    answer = vlm("qwen3_vl").ask(clip, QUESTION, options=OPTIONS, num_frames=2, selector="motion_peaks")
    assert [use.why for use in answer.trace.frames] == ["motion_peaks"] * 2
    assert [use.pts_seconds for use in answer.trace.frames] == pytest.approx([1.125, 3.375], abs=0.13)
    again = vlm("qwen3_vl").select(clip, QUESTION, num_frames=2, selector="motion_peaks")
    assert again["indices"] == [use.index for use in answer.trace.frames]
    assert json.loads(json.dumps(MotionFrames().describe()))["selector"] == "motion_peaks"
    with pytest.raises(ConfigError, match="takes no model"):
        MotionFrames("some/model")


def test_select_chooses_without_answering(vlm, uneven):
    chosen = vlm("smolvlm").select(uneven, QUESTION, num_frames=3)
    assert chosen["reason"] == "uniform"
    assert chosen["indices"] == [1, 4, 7]
    assert chosen["seconds"] == [0.4, 9.3, 125.75]


def test_a_conversation_keeps_its_turns(vlm, uneven):
    messages = [
        {"role": "user", "content": [{"type": "video", "video": uneven["video"]}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "And where?"},
    ]
    pipe = vlm("qwen2_5_vl")
    answer = pipe.chat(messages, max_new_tokens=3)
    prompt = answer.trace.panels["prompt"]
    assert prompt.index("video_pad") < prompt.index("Who?") < prompt.index("A dog.") < prompt.index("And where?")
    assert "".join(pipe.chat(messages, stream=True, max_new_tokens=3)) == answer.text


def test_options_are_shown_as_letters_or_texts(vlm_folder, vlm, uneven):
    letters = vlm("qwen3_vl").ask(uneven, QUESTION, options=OPTIONS).trace.panels["prompt"]
    assert "A. red\nB. blue\n" in letters
    texts = vidweave.load(vlm_folder("qwen3_vl"), choices="texts").ask(uneven, QUESTION, options=OPTIONS)
    assert "Answer with one of: red, blue." in texts.trace.panels["prompt"]


def test_full_traces_and_none(vlm):
    clip = clip_at(list(np.arange(520) / 10), size=(8, 8))
    pipe = vlm("llava_next_video")
    bounded = pipe.ask(clip, QUESTION, num_frames=520, options=OPTIONS).trace
    assert len(bounded.frames) == 512
    assert any("512 of 520 frames are listed" in note for note in bounded.notes)
    assert len(pipe.ask(clip, QUESTION, num_frames=520, options=OPTIONS, trace="full").trace.frames) == 520
    assert pipe.ask(clip, QUESTION, num_frames=1, options=OPTIONS, trace=False).trace is None


def test_cancelling_stops_between_steps(vlm, uneven):
    cancel = Event()
    pieces = vlm("qwen3_vl").ask(uneven, QUESTION, stream=True, max_new_tokens=200, cancel=cancel)
    next(pieces)
    cancel.set()
    with pytest.raises(CancelledError, match="the call was cancelled"):
        list(pieces)


def test_repetition_penalty_leaves_the_prompt_alone(vlm, uneven):
    pipe = vlm("qwen3_vl")
    plain = pipe.ask(uneven, QUESTION, num_frames=2, max_new_tokens=1)
    assert pipe.ask(uneven, QUESTION, num_frames=2, max_new_tokens=1, repetition_penalty=9.0).text == plain.text
    several = pipe.ask(uneven, QUESTION, num_frames=2, max_new_tokens=3, num_beams=2, num_return_sequences=2)
    assert len(several.alternatives) == 1


BAD: dict[str, tuple[type[Exception], str, dict[str, object]]] = {
    "too many frames": (MediaError, "10 frames were requested, the video has 9", {"num_frames": 10}),
    "no frames": (ConfigError, "num_frames must be a positive number, got 0", {"num_frames": 0}),
    "half a frame": (ConfigError, "num_frames must be one whole number", {"num_frames": 2.5}),
    "number and rate": (ConfigError, r"give num_frames \(2\) or fps \(1.0\), not both", {"num_frames": 2, "fps": 1.0}),
    "a negative rate": (ConfigError, "fps must be a positive number", {"fps": -1.0}),
    "words for times": (ConfigError, "times must be 'model' or 'text'", {"times": "seconds"}),
    "an unknown selector": (UnknownNameError, "unknown frame selector 'best'", {"selector": "best"}),
    "an unknown setting": (UnknownNameError, "unknown field of the generation settings 'max_token'", {"max_token": 3}),
    "a strange trace": (QueryError, "trace must be True, False or 'full'", {"trace": "long"}),
    "a long answer": (ConfigError, "5000 may follow, the model reads 4096; use fewer frames", {"max_new_tokens": 5000}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_told_in_one_line(case, vlm, uneven):
    error, message, arguments = BAD[case]
    with pytest.raises(error, match=message) as told:
        vlm("qwen3_vl").ask(uneven, QUESTION, **arguments)
    assert "\n" not in str(told.value)


def test_a_clip_longer_than_the_context_says_what_to_use_less_of(vlm):
    clip = clip_at(list(np.arange(300) / 2), size=(112, 112))
    with pytest.raises(
        ConfigError, match=r"visual\) and 1 may follow, the model reads 4096; .* or a smaller max_pixels"
    ):
        vlm("qwen2_vl").ask(clip, QUESTION, options=OPTIONS, num_frames=300, max_pixels=112 * 112)
    with pytest.raises(
        ConfigError, match=r"the model reads 4096; use fewer frames \(num_frames, fps\), or a shorter span"
    ):
        vlm("llava_next_video").ask(clip_at(list(np.arange(1100) / 2), size=(8, 8)), QUESTION, fps=2.0)


def test_limits_belong_to_one_call(vlm, repository):
    clip, pipe = repository / "examples/clips/toy.mp4", vlm("llava_next_video")
    with pytest.raises(MediaLimitError, match=r"raise Limits\.max_frames"):
        pipe.ask(clip, QUESTION, options=OPTIONS, limits=replace(DEFAULT_LIMITS, max_frames=3))
    assert pipe.ask(clip, QUESTION, options=OPTIONS, num_frames=2).text in OPTIONS


def test_bad_clips_and_questions_are_told(vlm, uneven):
    pipe = vlm("qwen3_vl")
    with pytest.raises(ModalityError, match="the clip has audio, which a vision-language model does not read"):
        pipe.ask(Clip(uneven["video"], audio=NOISE), QUESTION)
    features = PrecomputedFeatures(np.zeros((1, 2, 3), np.float32), np.zeros((1, 2)))
    with pytest.raises(ModalityError, match="the clip has features of video"):
        pipe.ask(Clip(features), QUESTION)
    floats = Frames(np.zeros((2, 8, 8, 3), np.float32), np.arange(2.0), np.arange(2))
    with pytest.raises(ShapeError, match="reads RGB frames in uint8, got video of float32"):
        pipe.ask(Clip(floats), QUESTION)
    for text in ("What is <|video_pad|>?", "What is <|im_end|>?"):
        with pytest.raises(QueryError, match="reword it"):
            pipe.ask(uneven, text)
    with pytest.raises(QueryError, match="max_new_tokens would do nothing"):
        pipe.ask(uneven, QUESTION, options=OPTIONS, max_new_tokens=3)
    with pytest.raises(QueryError, match="no queries"):
        pipe.answer([])
    with pytest.raises(QueryError, match="expected queries, got 'a question'"):
        pipe.answer(["a question"])
    with pytest.raises(QueryError, match="has nothing to score"):
        pipe.score(Query.about(uneven, QUESTION))
    with pytest.raises(QueryError, match="options are scored, not written"):
        pipe.ask(uneven, QUESTION, options=OPTIONS, stream=True)
    with pytest.raises(ConfigError, match="only a single beam"):
        pipe.ask(uneven, QUESTION, stream=True, num_beams=2)
    with pytest.raises(ConfigError, match="normalize must be"):
        pipe.ask(uneven, QUESTION, options=OPTIONS, normalize="max")
    with pytest.raises(NotStreamableError, match="reads a whole clip at once"):
        pipe.stream()


@pytest.mark.parametrize("name", ["llava_onevision", "smolvlm", "gemma4", "internvl"])
def test_families_of_one_frame_size_refuse_a_pixel_budget(name, vlm, vlm_folder, uneven):
    with pytest.raises(ConfigError, match="max_pixels has no effect on models of type"):
        vlm(name).ask(uneven, QUESTION, max_pixels=10_000)
    with pytest.raises(ConfigError, match="max_pixels has no effect"):
        vidweave.load(vlm_folder(name), max_pixels=10_000)


def test_two_videos_of_unequal_length_and_two_for_molmo_are_told(vlm, uneven):
    from vidweave.types import Scene

    scenes = (Scene("A", clip_at([0.0, 1.0])), Scene("B", uneven))
    with pytest.raises(ConfigError, match="only with the same number of frames, got pixel_values_videos"):
        vlm("llava_onevision").answer(Query(QUESTION, scenes, OPTIONS))
    with pytest.raises(ConfigError, match="Molmo2 reads one video per prompt"):
        vlm("molmo2").answer(Query(QUESTION, scenes, OPTIONS), num_frames=2)
