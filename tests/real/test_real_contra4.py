"""Contra4 with a real language model in this process: evaluation by captions, and making questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidweave.cli.main import run
from vidweave.engines import Request, Sampling
from vidweave.engines.local import TransformersEngine

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
SPLIT = Path(__file__).parents[1] / "data" / "contra4" / "val.json.gz"
RECIPE = """
from dataclasses import dataclass

from vidweave.contra4.answers import Answers
from vidweave.contra4.pipeline import Pipeline
from vidweave.contra4.questions import Questions
from vidweave.contra4.sampling import Tuples
from vidweave.contra4.toy import ToyPools
from vidweave.engines.local import TransformersEngine


@dataclass(frozen=True)
class Settings:
    count: int = 5


def recipe(count: int) -> Pipeline:
    writer = TransformersEngine({folder!r})
    pools = ToyPools(seed=4, media={{"video": 20, "audio": 20}})
    tuples = Tuples(per_combination=count, modalities=("video", "audio"), seed=4)
    return Pipeline(name="ten tuples", stages=(pools, tuples, Questions(engine=writer), Answers(engine=writer)))
"""


@pytest.fixture(scope="module")
def engine(smollm2):
    return TransformersEngine(str(smollm2))


def test_the_capital_of_france_through_an_engine(engine):
    sampling = Sampling(temperature=0, max_tokens=12, seed=0)
    words = ({"role": "user", "content": "What is the capital of France?"},)
    (done,) = engine.complete([Request(prompt=words, sampling=sampling)])
    assert "Paris" in done.text


def test_drawn_completions_do_not_depend_on_their_batch(engine):
    words = ["Name a fruit.", "What do bees make?", "Say hello."]
    requests = [
        Request(prompt=({"role": "user", "content": w},), sampling=Sampling(temperature=0.7, max_tokens=5, seed=i))
        for i, w in enumerate(words)
    ]
    assert [d.text for d in engine.complete(requests)] == [engine.complete([r])[0].text for r in requests]


def test_forty_questions_of_the_released_split_are_answered_from_captions(smollm2, tmp_path, capsys):
    predictions = tmp_path / "predictions.jsonl"
    asked = ["--split", str(SPLIT), "--mode", "captions", "--model", str(smollm2), "--limit", "40"]
    assert run(["contra4", "evaluate", *asked, "--predictions", str(predictions), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["overall"]["num_items"] == 40
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    outputs = [line["output"] for line in lines if "output" in line]
    assert len(outputs) == 40
    assert sum(bool(output.strip()) for output in outputs) >= 36
    with capsys.disabled():
        print(f"\ncontra4 by captions: {info['overall']['accuracy']:.3f} of 40 questions")


def test_ten_tuples_become_questions_and_answers(smollm2, tmp_path, capsys):
    recipe = tmp_path / "ten.py"
    recipe.write_text(RECIPE.format(folder=str(smollm2)))
    assert run(["contra4", "generate", str(recipe), "--out", str(tmp_path / "run"), "--json"]) == 0
    stages = {stage["name"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}
    assert stages["sampling"]["rows"] == 10
    assert stages["questions"]["rows"] >= 1
