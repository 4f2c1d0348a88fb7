"""`vidweave compare`, and reports as files."""

from __future__ import annotations

import json

import pytest

from tests.unit.evaluation.evaluation_predictions import made_predictions
from vidweave.evaluation.predictions import PredictionFile


@pytest.fixture
def runs(tmp_path):
    for name, share, first in (("a", 0.8, 0), ("b", 0.3, 4)):
        with PredictionFile(tmp_path / name, {"model": {"model": name}}) as file:
            file.add(made_predictions(40, share, first=first))
    return tmp_path / "a", tmp_path / "b"


def test_compare_prints_differences(vid, runs):
    done = vid("compare", *runs)
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["A", "-", "B", "95%", "interval", "A", "B", "items", "p"]
    assert "scenes: mc_2" in done.out
    assert "4 items that only A has are excluded" in done.out
    data = vid("compare", *runs, "--json").data
    assert data["overall"]["num_items"] == 36


@pytest.mark.parametrize("suffix", [".html", ".md", ".json"])
def test_a_report_is_written_as_its_name_ends(vid, runs, tmp_path, suffix):
    out = tmp_path / f"report{suffix}"
    assert vid("compare", *runs, "--report", out).code == 0
    text = out.read_text(encoding="utf-8")
    assert "mc_2" in text
    assert (json.loads(text)["missing_in_second"] == 4) if suffix == ".json" else ("Two runs compared" in text)


def test_evaluate_writes_a_report(vid, model, tmp_path):
    done = vid("evaluate", "--examples", 2, "--question-type", "colour", "--report", tmp_path / "r.md")
    assert done.code == 0
    assert (tmp_path / "r.md").read_text(encoding="utf-8").startswith("# fake on toyworld")


def test_a_report_that_cannot_be_written_is_refused_before_any_work(vid, model, runs, tmp_path):
    for path, message in (
        (tmp_path / "r.pdf", "must end in .html, .md, .json"),
        (tmp_path / "no/r.md", "does not exist"),
    ):
        done = vid("evaluate", "--report", path)
        assert (done.code, message in done.err) == (2, True)
        assert vid("compare", *runs, "--report", path).code == 2
    assert not model.loads


def test_compare_refuses_what_is_no_record_file(vid, runs, tmp_path):
    (tmp_path / "c").write_text("{}\n")
    done = vid("compare", runs[0], tmp_path / "c")
    assert (done.code, "is not a prediction file" in done.err) == (1, True)
