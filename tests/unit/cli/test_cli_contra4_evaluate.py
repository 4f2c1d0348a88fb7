"""`vidweave contra4 evaluate`: ways, refusals, reports, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.unit.contra4.contra4_questions import question
from tests.unit.engines.language_server import serving
from vidweave.contra4.schema import SceneRef, write_questions
from vidweave.contra4.toy import TOY_SOURCE
from vidweave.evaluation.predictions import read_predictions
from vidweave.toyworld.scene import sample_scene


@pytest.fixture
def split(tmp_path):
    write_questions(tmp_path / "split.json", [question(n, scenes=2 + n % 3, answer=n % 2) for n in range(9)])
    return tmp_path / "split.json"


def test_blind_rules_need_no_media(vid, split, tmp_path):
    done = vid("contra4", "evaluate", "--split", split, "--model", "always-a", "--json", "--fit-on", split)
    assert done.code == 0
    assert done.data["overall"]["accuracy"] == pytest.approx(5 / 9)
    assert [rule["name"].split(" (")[0] for rule in done.data["baselines"]] == [
        "always A",
        "modality prior",
        "longest caption",
        "fitted prior",
        "uniform",
    ]
    assert {"CREMA", "OneLLM"} <= {row["name"] for row in done.data["published"]}
    text = vid("contra4", "evaluate", "--split", split, "--report", tmp_path / "r.html").out
    for info in ("modality-prior", "published, contra4, arXiv", "answer modality", "mc_4"):
        assert info in text
    assert "always A" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_language_model_behind_an_endpoint_reads_captions(vid, split, tmp_path):
    (tmp_path / "said.jsonl").write_text(
        "".join(
            json.dumps({"source": "s", "id": f"{n}-{i}", "caption": f"seen {n} {i}"}) + "\n"
            for n in range(9)
            for i in range(4)
        )
    )
    options = ("contra4", "evaluate", "--split", split, "--model", "m", "--mode", "captions", "--json", "--controls")
    with serving(lambda body, attempt: "Scene B") as server:
        oracle = vid(*options, "--base-url", server.url).data
        predicted = vid(*options, "--base-url", server.url, "--captions", tmp_path / "said.jsonl").data
        assert set(server.paths) == {"/v1/chat/completions"}
        continued = vid(*options, "--base-url", server.url, "--style", "text").data
    assert oracle["overall"]["accuracy"] == pytest.approx(4 / 9)
    assert oracle["measures"]["signal over noise (MSNR)"] == 0
    assert server.paths[-1] == "/v1/completions"
    assert "Option A: thing , Option B: thing x. Answer: Option" in continued["manifest"]["prompt"]
    assert oracle["task"]["captions"] == "the file's"
    assert "captions_sha256" in predicted["task"]
    assert 'Scene A. "seen 0 0"' in predicted["manifest"]["prompt"]


def test_only_some_modalities(vid, split):
    done = vid("contra4", "evaluate", "--split", split, "--modality", "audio", "--modality", "pc", "--json")
    assert done.data["overall"]["num_items"] == 3
    none = vid("contra4", "evaluate", "--split", split, "--modality", "image")
    assert (none.code, "no question is about image alone" in none.err) == (2, True)


def test_what_nobody_can_see_is_to_be_left_out(vid, tmp_path):
    scenes = [
        SceneRef(source=TOY_SOURCE, id=sample_scene(seed).seed, modality=modality, caption="a thing")
        for seed, modality in ((1, "video"), (2, "depth"))
    ]
    write_questions(tmp_path / "toy.json", [replace(question(0, scenes=2), scenes=tuple(scenes))])
    options = (
        "--split",
        tmp_path / "toy.json",
        "--model",
        "m",
        "--mode",
        "endpoint",
        "--base-url",
        "http://127.0.0.1:9/v1",
    )
    done = vid("contra4", "evaluate", *options)
    assert done.code == 2
    assert "endpoints accept image, video and audio, not depth; " in done.err
    assert "use --modality NAME (repeatable) to skip questions about others" in done.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--model", "m", "--mode", "endpoint"), "--mode endpoint needs --base-url"),
        (("--model", "m", "--base-url", "http://127.0.0.1:1/v1"), "--base-url applies to --mode captions or endpoint"),
        (("--model", "tiny-base", "--media", "coco"), "coco"),
        (("--model", "tiny-base", "--style", "text"), "--style applies to --mode captions, not to scenes"),
        (("--model", "always-a", "--controls"), "always-a uses no media, so --controls would ask the same"),
        (("--model", "tiny-base"), "none of the 9 questions has all its media"),
    ],
)
def test_what_does_not_fit_together_is_refused(vid, model, split, more, message):
    done = vid("contra4", "evaluate", "--split", split, *more)
    assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_asks_no_question_twice(split, tmp_path, vid):
    """kill -9 while a slow endpoint answers; the rest is asked by the next run."""
    predictions = tmp_path / "r.jsonl"
    write_questions(split, [question(n, scenes=2 + n % 3, answer=n % 2) for n in range(120)])
    with serving(lambda body, attempt: ("sleep", 0.1)) as server:
        options = [
            "contra4",
            "evaluate",
            "--split",
            str(split),
            "--model",
            "m",
            "--mode",
            "captions",
            "--base-url",
            server.url,
        ]
        command = [sys.executable, "-m", "vidweave", *options, "--predictions", str(predictions), "--batch-size", "4"]
        seen = []
        for _ in range(3):
            process = subprocess.Popen(command, env={**os.environ, "NO_COLOR": "1"}, stderr=subprocess.DEVNULL)
            requested = (seen[-1] if seen else 0) + 8
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and _recorded(predictions) < requested:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen.append(_recorded(predictions))
        assert 8 <= seen[0] < seen[1] < seen[2] < 120
        asked = len(server.asked)
        done = vid(*options, "--predictions", predictions, "--json")
        assert done.data["num_resumed"] == seen[2]
        assert len(server.asked) - asked == 120 - seen[2]
    assert [r.id for r in read_predictions(predictions)[1]] == [f"q{n}" for n in range(120)]


def _recorded(path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0
