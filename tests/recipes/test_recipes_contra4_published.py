"""The recipe of the published data: its settings, and its first stages over caption files in the published formats."""

import json
import os

import pyarrow
import pytest
from pyarrow import parquet

from vidweave.contra4.embedding import TfIdfEmbedder
from vidweave.contra4.pipeline import run
from vidweave.types.recipe import read_recipe


@pytest.fixture
def captions(tmp_path):
    folder = tmp_path / "captions"
    folder.mkdir()
    rows = "".join(f"{i},yt{i},{i},sound number {i}\n" for i in range(5))
    (folder / "audiocaps.csv").write_text("audiocap_id,youtube_id,start_time,caption\n" + rows)
    names = ",".join(f"caption_{i}" for i in range(1, 6))
    (folder / "clotho_validation.csv").write_text(f"file_name,{names}\na.wav,rain,b,c,d,e\n")
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A chair"}]
    (folder / "pointllm.json").write_text(
        json.dumps([{"object_id": f"o{i}", "conversations": turns} for i in range(4)])
    )
    coco = {
        "images": [{"id": i, "coco_url": f"http://x/{i}.jpg"} for i in range(3)],
        "annotations": [{"image_id": i % 3, "caption": f"picture {i}"} for i in range(9)],
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    videos = [
        {"video_id": f"video{i}", "caption": f"film {i}", "url": f"u{i}", "start time": 1.5 * i, "end time": 9.0}
        for i in range(4)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(videos), folder / "msrvtt.parquet")
    return folder


def made(captions, **changes):
    recipe, settings = read_recipe("contra4/published")
    return recipe(**(settings | {"pools": str(captions)} | changes))


def test_settings_are_the_published_ones(captions):
    stages = {stage.name: stage.describe() for stage in made(captions, thrifty=False).stages}
    assert list(stages) == [
        *("pools", "sampling", "questions", "answers", "verification", "filters", "balance", "categories")
    ]
    assert stages["sampling"]["per_combination"] == 30_000
    assert (stages["sampling"]["seed"], stages["sampling"]["nearest"]) == (123, 30)
    assert stages["sampling"]["embedder"]["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert stages["questions"]["engine"]["model"] == "meta-llama/Meta-Llama-3-8B"
    decoding = {"top_p": 0.9, "min_tokens": 10, "seed": 42, "stop": []}
    assert stages["questions"]["sampling"] == {"temperature": 1.05, "max_tokens": 120, **decoding}
    assert stages["answers"]["sampling"] == {"temperature": 0.3, "max_tokens": 120, **decoding}
    verifiers = {v["name"]: (v["engine"]["model"], v["style"]) for v in stages["verification"]["verifiers"]}
    assert verifiers == {
        "llama": ("meta-llama/Llama-3.1-8B-Instruct", "text"),
        "mistral": ("mistralai/Mistral-7B-Instruct-v0.2", "chat"),
        "phi": ("microsoft/Phi-3-medium-128k-instruct", "chat"),
    }
    assert {v["sampling"]["max_tokens"] for v in stages["verification"]["verifiers"]} == {30}
    assert stages["filters"]["keep"] == "unanimous_permute"
    assert stages["balance"]["style"] == "published"
    assert stages["categories"]["engine"]["model"] == "meta-llama/Llama-3.1-8B-Instruct"


def test_first_stages_over_the_published_formats(captions, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    pipeline = made(captions, per_combination=2)
    object.__setattr__(pipeline.stages[1], "embedder", TfIdfEmbedder())  # the published one is on the hub
    result = run(pipeline, tmp_path / "out", until="sampling", progress=False)
    assert [entry["rows"] for entry in result.stages] == [5 + 1 + 4 + 9 + 4, 2 * 11 * 2]
    rows = [json.loads(line) for line in (tmp_path / "out" / "01-pools" / "00000.jsonl").read_text().splitlines()]
    assert rows[-3] == {
        "source": "msrvtt_test",
        "id": "video1",
        "url": "u1",
        "meta": {"start_time": 1.5, "end_time": 9.0},
        "caption": ["film 1"],
        "modality": "video",
    }
