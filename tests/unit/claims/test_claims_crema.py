"""The claim about further modalities: rows that differ in what they say, controls that can fail, facts beside."""

import io

import pytest
import torch

import vidweave
from benchmarks.claims import CLAIMS
from benchmarks.claims.crema import crema
from vidweave.model.assembly import VideoLanguageModel
from vidweave.systems.tiny.crema import MODALITIES, tiny_crema


@pytest.fixture(scope="module")
def claim():
    torch.manual_seed(0)
    config = tiny_crema()
    model = VideoLanguageModel(config)
    model.processor = vidweave.load("tiny-base").model.processor.for_config(config)
    return crema(3, 2, progress=False, model=model.eval())


def test_it_is_registered():
    assert CLAIMS.get("crema") is crema


@pytest.mark.slow
def test_every_row_answers_what_it_should(claim):
    sensed = {"beeps", "pitch", "distance", "nearer", "spin", "temperature", "relief", "firmness", "consistency"}
    assert set(claim.question_types("video + needed")) == set(claim.question_types("needed zeroed")) == sensed
    assert set(claim.question_types("all modalities")) == set(claim.question_types("video only")) > sensed
    assert {len(claim.scores(row, "spin")) for row in claim.rows} == {2}


@pytest.mark.slow
def test_a_model_that_knows_nothing_does_not_pass(claim):
    doubted = {c.name for c in claim.criteria if c.p_value < 0.01}  # two items a question type cannot reject that many
    assert any("at least 95%" in name for name in doubted)


@pytest.mark.slow
def test_the_table_counts_tokens_and_parameters(claim):
    facts = claim.to_dict()["facts"]
    assert list(facts) == ["video", *(f"+ {modality}" for modality in MODALITIES)]
    assert [row["tokens"] for row in facts.values()] == [16] * (1 + len(MODALITIES))
    assert all(20_000 < row["trained parameters"] < 65_000 for name, row in facts.items() if name != "video")
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*claim.tables())
    assert "trained parameters" in console.export_text()
