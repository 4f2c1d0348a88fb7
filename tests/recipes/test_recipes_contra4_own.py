"""Questions about one's own files, end to end: a model of vidweave, one of transformers and an endpoint describe them."""

import base64
import io
import json
import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "contra4"))

from contra4_blip import save_blip
from contra4_rows import shown

from tests.unit.engines.language_server import serving
from vidweave.cli.main import run as command
from vidweave.contra4.schema import read_questions
from vidweave.media import write_audio, write_image, write_video
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.types import Waveform


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Four audio, three frames, and videos of toy scenes with one to three things."""
    root = tmp_path_factory.mktemp("media")
    for modality in ("audio", "image", "video"):
        (root / modality).mkdir()
    for n in range(4):
        write_audio(root / "audio" / f"{n}.wav", Waveform(np.zeros(1_000 + n, np.float32), 16_000))
    for n in range(3):
        write_image(root / "image" / f"{n}.png", np.full((24, 24, 3), 90 * n, np.uint8))
    scenes = {len(scene.objects): scene for scene in map(sample_scene, range(40))}
    for n in (1, 2, 3):
        write_video(root / "video" / f"{n}.mp4", render(scenes[n], "video"))
    return root


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return save_blip(tmp_path_factory.mktemp("blip"))


def answer(body, attempt):
    """Stands in for the model that hears, the writer, the verifiers and the one that names categories."""
    content = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    if isinstance(content, list):
        with wave.open(io.BytesIO(base64.b64decode(content[0]["input_audio"]["data"]))) as wav:
            return f"A hum of\n{wav.getnframes()} samples"
    if content.endswith("Which scene"):
        return " is told at most length?"
    if content.endswith("Category:"):
        return " Length"
    letter, _ = max(shown(content), key=lambda scene: (len(scene[1]), scene[1]))
    return f" Scene {letter}"


def who(server, blip):
    """Settings that name a captioner of each kind."""
    return [
        *("image.kind=transformers", f"image.model={blip}"),
        *("video.kind=vidweave", "video.model=tiny-base", "video.prompt=How many objects are there?"),
        *("audio.kind=endpoint", "audio.model=ear", f"audio.url={server.url}"),
    ]


@pytest.mark.slow
def test_from_files_to_questions(media, blip, tmp_path, capsys):
    out = tmp_path / "own"
    with serving(answer) as server:
        servers = [f"texts.{name}={server.url}" for name in ("writer", "category", "llama", "mistral", "phi")]
        options = [f"media={media}", *who(server, blip), *servers, "texts.per_combination=2", "texts.embedder=tf-idf"]
        assert command(["contra4", "generate", "contra4/own", *options, "--out", str(out)]) == 0
        asked = len(server.asked)
        assert command(["contra4", "generate", "contra4/own", *options, "--out", str(out)]) == 0
        assert len(server.asked) == asked
    assert f"questions in {out / 'questions.json'}" in capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "02-captions" / "00000.jsonl").read_text().splitlines()]
    reply = {(row["source"], row["id"]): row["caption"][0] for row in rows}
    assert len(reply) == 10
    assert [reply["own_audio", f"{n}.wav"] for n in range(4)] == [f"A hum of {1_000 + n} samples" for n in range(4)]
    assert [reply["own_video", f"{n}.mp4"] for n in (1, 2, 3)] == ["1", "2", "3"]  # tiny-base counts
    assert all(reply["own_image", f"{n}.png"] for n in range(3))
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["stages"][1]["settings"]["captioners"]["video"]["model"]["weights"]
    assert manifest["stages"][1]["usage"]["requests"] == 4

    questions = read_questions(out / "questions.json")
    assert len(questions) == 2 * 4 * 2  # nothing is filtered: all agree
    for question in questions:
        info = [scene.caption for scene in question.scenes]
        assert info == [reply[scene.key] for scene in question.scenes]
        assert question.answer == info.index(max(info, key=lambda text: (len(text), text)))
    folders = [f"--media=own_{name}={media / name}" for name in ("audio", "image", "video")]
    assert command(["contra4", "doctor", str(out / "questions.json"), *folders]) == 0


def test_captions_of_a_split_are_what_the_caption_baseline_reads(media, blip, tmp_path, capsys, monkeypatch):
    examples = [
        {"source": "clotho_test", "id": "2.wav", "caption": "theirs"},
        {"source": "mine", "id": "1.mp4", "caption": "theirs"},
        {"source": "pointllm", "id": "x", "caption": "theirs"},
    ]
    kinds = ["audio", "video", "pc"]
    rows = [
        {"id": f"q{n}", "selection_type": "random", "examples": examples[:n], "modalities": kinds[:n], **more}
        for n, more in (
            (2, {"question": "Which scene hums?", "answer": "A"}),
            (3, {"question": "Which?", "answer": "C"}),
        )
    ]
    split = tmp_path / "split.json"
    split.write_text(json.dumps(rows))
    monkeypatch.setenv("CLOTHO_DIR", str(media / "audio"))
    with serving(answer) as server:
        options = [f"split={split}", *who(server, blip), f'media={{"mine": "{media / "video"}"}}']
        assert command(["contra4", "generate", "contra4/captions", *options, "--out", str(tmp_path / "c")]) == 0
        path = tmp_path / "c" / "captions.jsonl"
        assert f"captions in {path}" in capsys.readouterr().out
        reply = {row["id"]: row["caption"] for row in map(json.loads, path.read_text().splitlines())}
        assert reply == {"2.wav": ["A hum of 1002 samples"], "1.mp4": ["1"]}
        read = ["--mode", "captions", "--captions", str(path), "--model", "m", "--base-url", server.url, "--json"]
        only = ["--modality", "audio", "--modality", "video"]
        assert command(["contra4", "evaluate", "--split", str(split), *read, *only]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["overall"]["accuracy"] == 1
    assert "A hum of 1002 samples" in result["manifest"]["prompt"]


def test_what_is_missing_is_reported(tmp_path, capsys):
    (tmp_path / "image").mkdir()
    assert command(["contra4", "generate", "contra4/own", f"media={tmp_path}"]) == 2
    assert "needs folders of two modalities with captioners, got image" in capsys.readouterr().err
