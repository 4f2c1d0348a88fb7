"""A frame selector in front of a pipeline of our slots, of a composed model, and on the command line."""

import json
import shutil

import numpy as np
import pytest
from long_clips import MODEL, clip, frames_of, question, scene, write_long_clip

import vidweave
from vidweave.cli.main import run
from vidweave.errors import ConfigError, ModalityError, UnknownNameError
from vidweave.model.assets import asset_folder
from vidweave.pipelines.attribution import leave_one_out
from vidweave.pipelines.frame_selection.scenes import as_selection, choose_scenes
from vidweave.pipelines.frame_selection.similarity import SimilaritySelector
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Frames, Query, Scene, Waveform

SIMILARITY, GROUND = f"similarity:{MODEL}", f"ground:{MODEL}"


@pytest.fixture(scope="module")
def pipe():
    return vidweave.load("tiny-base", selector=SIMILARITY)


@pytest.fixture(scope="module")
def similarity(pipe):
    return pipe.selector


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_long_clip(tmp_path_factory.mktemp("clips") / "long.mp4")


def test_chosen_frames_reach_the_model_and_the_trace(pipe):
    visit = scene().objects[2]
    options = [visit.shape, *(s for s in ("circle", "square", "triangle") if s != visit.shape)]
    answer = pipe.ask(clip(), question(visit), options=options)
    chosen = pipe.selector.select(clip(), question(visit), num_frames=8)
    assert [frame.pts_seconds for frame in answer.trace.frames] == list(chosen.seconds)
    assert {frame.why for frame in answer.trace.frames} == {"similarity"}
    panel = answer.trace.panels["selection"]
    assert panel["reason"] == "similarity"
    assert panel["scenes"][""]["seconds"] == list(chosen.seconds)
    assert len(panel["scenes"][""]["similarity"]) == len(panel["scenes"][""]["steps"]) == 128
    json.dumps(answer.to_dict())
    plain = vidweave.load("tiny-base").ask(clip(), question(visit), options=options)
    assert [f.index for f in plain.trace.frames] != [f.index for f in answer.trace.frames]
    assert frames_of(visit, [f.index for f in answer.trace.frames]) >= 2


def test_one_call_may_name_another_selector(pipe):
    visit = scene().objects[1]
    ground = pipe.ask(clip(), question(visit), selector=GROUND)
    assert {frame.why for frame in ground.trace.frames} == {"ground"}
    assert {f.why for f in pipe.ask(clip(), question(visit), selector="uniform").trace.frames} == {"uniform"}
    plain = vidweave.load("tiny-base").ask(clip(), question(visit)).trace.frames
    assert pipe.ask(clip(), question(visit), selector="uniform").trace.frames == plain
    assert pipe.ask(clip(), "Summarize the video.").trace.notes == [
        "similarity: the question is about the whole clip; frames are sampled uniformly"
    ]
    text = "".join(pipe.ask(clip(), question(visit), selector=GROUND, stream=True))
    assert text == ground.text


def test_several_queries_at_once_equal_single_ones(pipe):
    queries = [Query.about(clip(n), question(scene(n).objects[n])) for n in (0, 1, 2)]
    queries.append(Query.about(clip(0), "Summarize the video."))
    together = pipe.answer(queries)
    for query, answer in zip(queries, together, strict=True):
        assert answer.trace.frames == pipe.answer([query])[0].trace.frames
    assert [f.why for f in together[3].trace.frames] == ["uniform"] * 8


def test_each_scene_with_a_video_gets_its_own_frames(pipe):
    sound = Clip(audio=Waveform(np.zeros(100, dtype=np.float32), 100))
    scenes = (Scene("A", clip(0)), Scene("B", sound), Scene("C", clip(1)))
    asked = question(scene(0).objects[0])
    choices = choose_scenes(pipe.selector, [Query(asked, scenes)], lambda item, number: 3 + number)
    assert list(choices) == [(0, 0), (0, 2)]
    for (_, number), chosen in choices.items():
        expected = pipe.selector.select(scenes[number].clip, asked, num_frames=3 + number)
        assert chosen.seconds == expected.seconds
    selection = as_selection(choices)
    assert selection.seconds.shape == (2, 5)
    assert selection.mask.sum(1).tolist() == [3, 5]
    assert (selection.item.tolist(), selection.scene.tolist()) == ([0, 0], [0, 2])


def test_a_clip_shorter_than_the_configured_number(pipe):
    short = Clip(clip()["video"], start_seconds=0.0, end_seconds=0.5)
    answer = pipe.ask(short, "What shape is the red object?")
    assert len(answer.trace.frames) == 8  # some twice, as without a selector


def test_a_span_between_two_frames(pipe):
    between = Clip(clip()["video"], start_seconds=10.01, end_seconds=10.1)
    assert {frame.pts_seconds for frame in pipe.ask(between, "a red object").trace.frames} == {10.0}


def test_a_vision_language_model_gets_the_chosen_frames(vlm, similarity):
    visit = scene().objects[2]
    answer = vlm("qwen3_vl").ask(clip(), question(visit), options=["ring", "cross"], num_frames=4, selector=similarity)
    chosen = similarity.select(clip(), question(visit), num_frames=4)
    assert [frame.pts_seconds for frame in answer.trace.frames] == list(chosen.seconds)
    assert {frame.why for frame in answer.trace.frames} == {"similarity"}
    for seconds in chosen.seconds:
        assert f"<{seconds:.1f} seconds>" in answer.trace.panels["prompt"]


def test_a_vision_language_model_takes_more_frames_than_one_stream_may_have(vlm, similarity):
    long = Clip(Frames.from_array(np.zeros((4_500, 16, 16, 3), dtype=np.uint8), fps=10))
    answer = vlm("qwen3_vl").ask(long, "What is there?", options=["a", "b"], num_frames=3, selector=similarity)
    assert [frame.why for frame in answer.trace.frames] == ["uniform"] * 3
    assert len(vlm("qwen3_vl").ask(long, "What is there?", options=["a", "b"], num_frames=3).trace.frames) == 3


def test_select_returns_what_other_selectors_return(pipe):
    data = pipe.select(clip(), question(scene().objects[0]), num_frames=5)
    assert data["reason"] == "similarity"
    assert len(data["seconds"]) == len(data["indices"]) == len(data["scores"]) == 5
    assert data["costs"]["seconds_per_hour"] > 0
    assert pipe.select(clip(), "x", num_frames=5, selector="uniform")["reason"] == "uniform"
    json.dumps(data)


def test_the_record_of_a_run_names_the_selector(pipe):
    assert pipe.describe()["selector"]["selector"] == "similarity"
    assert "selector" not in vidweave.load("tiny-base").describe()


def test_attribution_uses_the_same_frames(pipe):
    visit = scene().objects[2]
    query = Query.about(clip(), question(visit), [visit.shape, *(s for s in ("ring", "cross") if s != visit.shape)])
    answer = pipe.answer([query])[0]
    entries = leave_one_out(pipe, query, answer)
    best = max(option.score for option in answer.options)
    total = np.log(sum(np.exp(option.score) for option in answer.options))
    assert np.log(entries[0]["probability"]) == pytest.approx(best - total, abs=1e-4)


def test_a_question_without_video_is_refused(pipe):
    sound = Clip(audio=Waveform(np.zeros(16_000, dtype=np.float32), 16_000))
    crema = vidweave.load("tiny-crema")
    with pytest.raises(
        ModalityError, match="a frame selector needs a video, but there is only audio; leave out the selector"
    ):
        crema.ask(sound, "How many beeps are there?", selector=SimilaritySelector(MODEL))


def test_load_checks_the_name_first():
    with pytest.raises(UnknownNameError, match="unknown frame selector 'simlarity'"):
        vidweave.load("tiny-base", selector="simlarity:x")
    with pytest.raises(ConfigError, match="'llama' model is no dual encoder"):
        vidweave.load("tiny-base", selector="similarity:tiny-llama")


def test_a_composed_model_keeps_its_selector(tmp_path):
    folder = shutil.copytree(asset_folder(MODEL), tmp_path / "tower")
    pipe = vidweave.compose([folder], "tiny-llama", num_frames=2, selector=SIMILARITY)
    assert isinstance(pipe.selector, SimilaritySelector)
    pipe.save_pretrained(tmp_path / "model")
    again = vidweave.load(tmp_path / "model")
    assert again.describe() == pipe.describe()
    assert again.config.frame_selector == SIMILARITY
    assert SlotPipeline(again.model, selector="uniform").selector.name == "uniform"
    for model in (pipe, again):
        assert {f.why for f in model.ask(clip(), "a red object").trace.frames} == {"similarity"}
    with pytest.raises(ConfigError, match="the selector 'similarity' needs the folder or hub id"):
        vidweave.compose([folder], "tiny-llama", selector="similarity")
    data = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**data, "frame_selector": 3}))
    with pytest.raises(ConfigError, match="frame_selector must be a string, got 3"):
        vidweave.load(tmp_path / "model")


# ---- command line


def call(capsys, *arguments):
    code = run([str(a) for a in arguments])
    reply = capsys.readouterr()
    return code, reply.out, reply.err


def test_the_select_command_tells_costs(capsys, video, tmp_path):
    asked = question(scene().objects[0])
    command = ("select", video, asked, "-k", 4, "--selector", "similarity", "--selector-model", MODEL)
    code, out, err = call(capsys, *command, "--cache", tmp_path / "store", "--json")
    assert code == 0, err
    data = json.loads(out)
    assert (data["selector"], data["reason"], data["costs"]["frames_decoded"]) == ("similarity", "similarity", 128)
    code, out, err = call(capsys, *command, "--cache", tmp_path / "store")
    assert code == 0, err
    assert "span " in out
    assert ", similarity 0." in out
    assert "128 of 300 frames scored, 0 decoded now: " in out
    assert out.rstrip().endswith("s per hour of video")
    assert call(capsys, "select", video, asked, "--selector", GROUND, "--isolate")[0] == 0


def test_ask_and_explain_take_a_selector(capsys, video, tmp_path):
    asked = question(scene().objects[0])
    code, out, err = call(capsys, "ask", video, asked, "--selector", SIMILARITY, "--json")
    assert code == 0, err
    assert {frame["why"] for frame in json.loads(out)["trace"]["frames"]} == {"similarity"}
    page = tmp_path / "page.html"
    code, _, err = call(capsys, "explain", video, asked, "--selector", GROUND, "--out", page)
    assert code == 0, err
    for words in ("chosen by ground", "similarity to the question (", ", similarity 0."):
        assert words in page.read_text()


@pytest.mark.slow  # evaluates twice
def test_evaluate_takes_a_selector_and_records_it(capsys, tmp_path):
    command = ("evaluate", "toyworld", "examples=2", "question_types=colour", "--predictions", tmp_path / "p.jsonl")
    code, _, err = call(capsys, *command, "--selector", SIMILARITY, "--json")
    assert code == 0, err
    code, _, err = call(capsys, *command)
    assert code == 1  # predictions of another selector are not continued
    assert err.count("\n") == 1


BAD = [
    (("--selector", "similarity"), "the selector 'similarity' needs the folder or hub id of a dual encoder"),
    (("--selector", "simlarity:a"), "'simlarity'; did you mean 'similarity'"),
    (("--selector", "similarity:tiny-base"), "model is no dual encoder of frames and texts"),
    (("--selector", "similarity:nowhere"), "'nowhere' is neither a folder, nor a shipped asset, nor a hub id"),
    (("--selector", "similarity:./clip.mp4"), "'./clip.mp4' is neither a folder, nor a shipped asset, nor a hub id"),
    (("--selector", "similarity:a", "--selector-model", "b"), "the selector's model is given twice, as 'a' and as 'b'"),
]
ONLY_ASK = [
    (("--selector-model", "a"), "--selector-model needs --selector, e.g. --selector similarity"),
    (("--selector", "uniform", "--selector-model", "a"), "the selector 'uniform' takes no model, got 'a'"),
    (("--selector", "grounding"), "unknown frame selector 'grounding'; did you mean 'ground'"),
]


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [*(("ask", *case) for case in (*BAD, *ONLY_ASK)), *(("select", *case) for case in BAD)],
)
def test_bad_selectors_are_one_line(command, arguments, message, capsys, video):
    code, _, err = call(capsys, command, video, "What is there?", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_select_with_a_model_for_its_default_selector(capsys, video):
    code, _, err = call(capsys, "select", video, "What is there?", "--selector-model", "a")
    assert code == 2
    assert (
        err
        == "error: the selector 'grounding' takes no --selector-model, got 'a'; use --selector similarity or ground\n"
    )


@pytest.mark.parametrize("command", [("ask",), ("select", "-k", "3")])
def test_a_long_question_is_one_line(command, capsys, video):
    name, *more = command
    code, _, err = call(capsys, name, video, "What is the red object ? " * 40, *more, "--selector", SIMILARITY)
    assert code == 2
    assert "tokens, the text encoder of 'tiny-siglip' takes at most 32; shorten it, or use another selector" in err
    assert err.count("\n") == 1


def test_too_many_frames_are_one_line(capsys, video):
    code, _, err = call(capsys, "select", video, "a ring", "-k", 999, "--selector", SIMILARITY)
    assert code == 2
    assert "999 frames were requested, the video has 300 in the chosen span; request at most 300" in err
