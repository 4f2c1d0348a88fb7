"""`vidweave ask`, with a model that answers without thinking."""

from __future__ import annotations

import wave

import pytest
from PIL import Image

from vidweave.media import open_source
from vidweave.registry import MODALITIES


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(4_000))
    return path


def test_prints_the_answer_and_the_scores(vid, model, clip):
    done = vid("ask", clip, "Which colour?", "--option", "red", "--option", "blue")
    assert done.code == 0
    assert done.out.splitlines() == ["red", "  red   -0.500", "  blue  -1.000", "note: one frame lost"]
    assert done.err == ""


def test_json_holds_answer_options_and_trace(vid, model, clip):
    data = vid("ask", clip, "Which colour?", "--option", "red", "--option", "blue", "--json").data
    assert data["text"] == "red"
    assert data["options"] == [{"text": "red", "score": -0.5}, {"text": "blue", "score": -1.0}]
    assert data["trace"]["frames"][0]["index"] == 2
    assert data["trace"]["frames"][0]["pts_seconds"] == 0.5
    assert set(data["trace"]) >= {"frames", "tokens", "seconds"}


def test_hands_everything_on(vid, model, clip, audio):
    done = vid(
        *("ask", clip, "What happens?", "--model", "some/model", "--start", "0.5", "--end", 1.25, "--frames", 3),
        *("--audio", audio, "--max-new-tokens", 9, "--num-beams", 2, "--temperature", 0.7, "--device", "cpu"),
        *("--dtype", "bfloat16", "--normalize", "mean", "--full-trace"),
    )
    assert done.code == 0
    assert done.out.startswith("WHAT HAPPENS?\n")
    given = {"device": "cpu", "dtype": "bfloat16", "cache_folder": None, "adapter": None, "selector": None}
    assert model.loads == [("some/model", given)]
    asked = model.asked[0]
    assert dict(asked["clip"]) == {"video": str(clip), "audio": str(audio)}
    assert (asked["clip"].start_seconds, asked["clip"].end_seconds) == (0.5, 1.25)
    assert asked["num_frames"] == 3
    assert (asked["max_new_tokens"], asked["num_beams"], asked["temperature"], asked["do_sample"]) == (9, 2, 0.7, True)
    assert (asked["trace"], asked["normalize"]) == ("full", "mean")


def test_a_question_about_audio_alone(vid, model, audio):
    done = vid("ask", "What is heard?", "--audio", audio)
    assert done.code == 0
    assert dict(model.asked[0]["clip"]) == {"audio": str(audio)}
    assert model.asked[0]["question"] == "What is heard?"


def test_there_is_an_option_for_every_modality(vid):
    reply = vid("ask", "--help").out
    for name in MODALITIES:
        assert name == "video" or f"--{name.replace('_', '-')} SOURCE" in reply


def test_audio_given_as_the_video_names_the_option(vid, model, audio):
    done = vid("ask", audio, "What is heard?")
    assert done.code == 2
    assert "--audio" in done.err
    assert not model.loads


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{clip}"], "a clip and a question are needed, got only"),
        (["{clip}", "   "], "the question is empty"),
        (["{clip}", "why " * 10_000], "the question has 10000 words"),
        (["{clip}", "q", "--option", "a", "--option", "a"], "options repeat: 'a'"),
        (["{clip}", "q", "--option", "a"], "one option ('a') leaves no choice"),
        (["{clip}", "q", "--start", "2", "--end", "1"], "the span ends (1.0 s) before it starts (2.0 s)"),
        (["{clip}", "q", "--smell", "x"], "No such option: --smell"),
        (["{clip}", "q", "--normalize", "max"], "--normalize must be sum or mean, got 'max'"),
        (["{clip}", "q", "--option", "a", "--option", "b", "--num-beams", "2"], "num_beams would have no effect"),
        (["nowhere.mp4", "q"], "'nowhere.mp4' does not exist"),
        (["{clip}", "q", "--audio", "nowhere.wav"], "'nowhere.wav' does not exist"),
        (["{folder}", "q"], "has no image files"),
    ],
)
def test_bad_input_fails_before_a_model_is_loaded(vid, model, clip, tmp_path, arguments, complaint):
    done = vid("ask", *(a.format(clip=clip, folder=tmp_path) for a in arguments))
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert done.err.count("\n") == 1
    assert not model.loads


@pytest.fixture
def folder(tmp_path):
    """Three frames without a frame rate."""
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (16, 12), (90 * number, 0, 0)).save(tmp_path / "frames" / f"{number}.png")
    return tmp_path / "frames"


@pytest.mark.parametrize("verb", ["ask", "explain"])
def test_a_folder_of_frames_gets_its_rate_from_an_option(vid, model, folder, verb, tmp_path):
    more = ("--out", tmp_path / "page.html") if verb == "explain" else ()
    without = vid(verb, folder, "What?", *more)
    assert (without.code, without.out) == (2, "")
    assert "3 frames but no frame rate; give it (Clip(fps=…), vidweave ask --fps …)" in without.err
    done = vid(verb, folder, "What?", "--fps", "2.5", *more)
    assert (done.code, done.err) == (0, "")
    assert model.asked[0]["clip"].fps == 2.5


def test_a_rate_for_a_file_that_has_its_own_times_is_reported(clip):
    with open_source(clip, "video", fps=5) as source:
        assert source.notes == [f"fps=5 is ignored: '{clip}' has times of its own"]
