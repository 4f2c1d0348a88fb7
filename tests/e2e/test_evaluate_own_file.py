"""A file of one's own, in an empty folder, measured by the shipped model: answers, a parser, parts, and no answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.unit.data.benchmark_files import FILES, write_files
from vidweave.cli.main import run
from vidweave.media.write import write_audio, write_video
from vidweave.types import Frames, Waveform


def output_of(capsys, *words):
    code = run([str(word) for word in words])
    result = capsys.readouterr()
    assert code == 0, result.err
    return result.out


def made(path, seed=0, fps=4.0):
    frames = np.random.default_rng(seed).integers(0, 255, (7, 34, 46, 3), dtype=np.uint8)
    return write_video(path, Frames.from_array(frames, fps=fps))


def test_own_questions_from_an_empty_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "a.mp4")
    made(tmp_path / "b.mp4", seed=1)
    rows = [{"video": f"{clip}.mp4", "question": f"Which color, {n}?", "options": ["red", "blue"], "answer": answer}
            for clip in "ab" for n, answer in enumerate(("red", 1, ["blue", "red"]))]  # fmt: skip
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = json.loads(output_of(capsys, "evaluate", "my.jsonl", "--model", "tiny-base", "--json"))
    assert result["counts"] == {"total": 6, "answered": 6, "missing_media": 0, "unlabeled": 0, "videos": 2}
    assert result["all_questions"]["num_correct"] == result["overall"]["num_correct"] >= 2, (
        "a list accepts both options"
    )
    for part in (1, 2):
        output_of(capsys, "evaluate", "my.jsonl", "--shard", f"{part}/2", "--predictions", f"{part}.jsonl")
    output_of(capsys, "merge", "1.jsonl", "2.jsonl", "--out", "all.jsonl")
    merged = json.loads(output_of(capsys, "evaluate", "my.jsonl", "--predictions", "all.jsonl", "--json"))
    assert merged["num_resumed"] == 6
    assert merged["overall"] == result["overall"]
    written = output_of(capsys, "evaluate", "my.jsonl", "--parser", "vidweave")
    assert "multiple-choice-strict" in written
    (tmp_path / "open.jsonl").write_text('{"video": "a.mp4", "question": "Which?"}\n')
    assert "replies written to examples.submission.jsonl" in output_of(capsys, "evaluate", "open.jsonl")
    (row,) = (tmp_path / "examples.submission.jsonl").read_text().splitlines()
    assert json.loads(row)["id"] == "0"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*FILES} - {"audiocaps"}))
def test_the_shipped_model_answers_every_data_set(name, tmp_path, capsys):
    """All but audio alone, which tiny-base does not take."""
    video, audio = made(tmp_path / "clip.mp4", fps=0.2), tmp_path / "clip.wav"
    write_audio(audio, Waveform(np.zeros(9_000, np.float32), 8_000))
    files = write_files(name, tmp_path, {".mp4": video, ".avi": video, ".webm": video, ".wav": audio})
    settings = [f"{key}={value}" for key, value in files.settings.items()]
    words = ("evaluate", name, f"data={tmp_path / files.data}", f"media={tmp_path / 'media'}", *settings)
    result = json.loads(output_of(capsys, *words, "--model", "tiny-base", "--json"))
    assert result["counts"]["answered"] == files.num_examples
    assert result["scores"]
