"""The command line with a folder of a vision-language model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.contra4.contra4_questions import question
from vidweave.cli.main import run
from vidweave.contra4.schema import SceneRef, write_questions
from vidweave.contra4.toy import TOY_SOURCE
from vidweave.toyworld.scene import sample_scene


@pytest.fixture
def vid(capsys):
    """Run one command in this process; exit code, output, errors."""

    def call(*arguments):
        code = run([str(a) for a in arguments])
        reply = capsys.readouterr()
        return code, reply.out, reply.err

    return call


@pytest.fixture
def clip(repository):
    return repository / "examples/clips/toy.mp4"


def test_ask_with_options_and_without(vid, vlm_folder, clip):
    code, out, _ = vid(
        "ask", clip, "What colour?", "--model", vlm_folder("qwen3_vl"), "--option", "red", "--option", "blue"
    )
    assert code == 0
    assert out.splitlines()[0] in ("red", "blue")
    code, out, _ = vid(
        "ask", clip, "What?", "--model", vlm_folder("smolvlm"), "--frames", 2, "--max-new-tokens", 2, "--json"
    )
    assert code == 0
    trace = json.loads(out)["trace"]
    assert [use["pts_seconds"] for use in trace["frames"]] == trace["panels"]["times"][0]["frames"]


def test_models_show_counts_the_parts(vid, vlm_folder):
    code, out, _ = vid("models", "show", vlm_folder("qwen3_vl"), "--json")
    assert code == 0
    slots = {slot["slot"]: slot for slot in json.loads(out)["slots"]}
    assert set(slots) == {"visual", "language_model", "lm_head"}
    assert slots["language_model"]["note"] == "times reach it as text; 16 frames by default"
    assert slots["lm_head"]["parameters"] == 32 * 384


def test_select_uses_uniform_sampling_by_default(vid, vlm_folder, clip):
    code, out, _ = vid("select", clip, "What?", "--model", vlm_folder("qwen2_5_vl"), "-k", 2, "--json")
    assert code == 0
    assert json.loads(out)["reason"] == "uniform"
    code, out, _ = vid(
        *("select", clip, "What?", "--model", vlm_folder("qwen2_5_vl"), "--selector", "motion_peaks", "-k", 2, "--json")
    )
    assert code == 0
    assert json.loads(out)["reason"] == "motion_peaks"


@pytest.mark.slow
def test_explain_writes_a_page(vid, vlm_folder, clip, tmp_path):
    page = tmp_path / "page.html"
    code, _, _ = vid(
        *("explain", clip, "What?", "--model", vlm_folder("qwen3_vl")),
        *("--option", "red", "--option", "blue", "--frames", 2, "--out", page),
    )
    assert code == 0
    assert "seconds&gt;" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_evaluate_and_compare(vid, vlm_folder, tmp_path):
    files = [tmp_path / f"{name}.jsonl" for name in ("qwen3_vl", "video_llava")]
    for file in files:
        arguments = ("--limit", 4, "--frames", 2, "--predictions", file, "--json")
        code, out, _ = vid("evaluate", "toyworld", "--model", vlm_folder(file.stem), *arguments)
        assert code == 0
        assert json.loads(out)["overall"]["num_items"] == 4
    code, out, _ = vid("compare", *files)
    assert code == 0
    assert "question type" in out


def test_contra4_shows_all_scenes_in_one_prompt(vid, vlm_folder, tmp_path):
    asked = []
    for number in range(2):
        seeds = [sample_scene(10 * number + i).seed for i in range(2)]
        scenes = tuple(SceneRef(source=TOY_SOURCE, id=seed, modality="video", caption="a thing") for seed in seeds)
        asked.append(replace(question(number, scenes=2, answer=0), scenes=scenes))
    write_questions(tmp_path / "q.json", asked)
    code, out, err = vid(
        *("contra4", "evaluate", "--split", tmp_path / "q.json", "--model", vlm_folder("qwen3_vl")),
        *("--mode", "scenes", "--frames", 2, "--json"),
    )
    assert code == 0, err
    assert json.loads(out)["overall"]["num_items"] == 2


@pytest.mark.parametrize(
    ("command", "message", "status"),
    [
        (("stream", "CLIP", "What?"), "reads a whole clip at once", 1),
        (("select", "CLIP", "What?", "--selector", "all_frames"), "unknown frame selector 'all_frames'", 2),
        (("ask", "CLIP", "What?", "--frames", "9999"), "9999 frames were requested, the video has", 2),
        (("ask", "CLIP", "What?", "--depth", "CLIP"), "has depth, which a vision-language model does not read", 2),
    ],
)
def test_what_such_a_model_cannot_do_is_told_in_one_line(command, message, status, vid, vlm_folder, clip):
    words = [clip if word == "CLIP" else word for word in command]
    code, _, err = vid(*words, "--model", vlm_folder("qwen3_vl"))
    assert code == status
    assert message in err
    assert len(err.strip().splitlines()) == 1
