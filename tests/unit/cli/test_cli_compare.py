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
    assert done.out.splitlines()[0].split() == ["A", "-", "B", "95%", "interval", "A", "B", "items", "p", "p", "Holm"]
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
    assert (json.loads(text)["missing_in_second"] == 4) if suffix == ".json" else ("Runs compared" in text)


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


def test_compare_refuses_what_is_no_prediction_file(vid, runs, tmp_path):
    (tmp_path / "c").write_text("{}\n")
    done = vid("compare", runs[0], tmp_path / "c")
    assert (done.code, "is not a prediction file" in done.err) == (1, True)


@pytest.fixture
def third(tmp_path):
    with PredictionFile(tmp_path / "c.jsonl", {"model": {"model": "third"}}) as file:
        file.add(made_predictions(40, 0.75, seed=9))
    return tmp_path / "c.jsonl"


def test_several_runs_are_compared_with_the_first_and_corrected_together(vid, runs, third, tmp_path):
    data = vid("compare", *runs, third, "--json").data
    assert list(data["comparisons"]) == ["b", "c"]
    alone = vid("compare", runs[0], runs[1], "--json").data
    both = data["comparisons"]["b"]
    assert both["num_tests"] == alone["num_tests"] * 2
    assert both["overall"]["p_value"] == alone["overall"]["p_value"]
    assert both["overall"]["p_holm"] > alone["overall"]["p_holm"] > alone["overall"]["p_value"]
    text = vid("compare", *runs, third, "--report", tmp_path / "r.html").out
    assert text.splitlines()[0].split()[:2] == ["run", "B"]
    table = text.partition("p Holm is adjusted")[0]
    assert {line.split()[0] for line in table.splitlines()[1:]} == {"b", "c"}
    assert f"p Holm is adjusted for {both['num_tests']} tests" in text
    assert "4 items that only b has are excluded" in text
    page = (tmp_path / "r.html").read_text()
    assert "Overall: a minus b" in page
    assert "By scenes (c)" in page


@pytest.mark.parametrize("suffix", [".md", ".tex", ".csv"])
def test_the_table_is_exported(vid, runs, third, tmp_path, suffix):
    out = tmp_path / f"t{suffix}"
    assert vid("compare", *runs, third, "--export", out).code == 0
    lines = out.read_text().splitlines()
    if suffix == ".csv":
        assert lines[0] == "B,items of,A - B,low,high,accuracy of A,accuracy of B,items,p,p Holm"
        overall = vid("compare", *runs, "--json").data["overall"]
        assert float(lines[1].split(",")[2]) == overall["difference"]
    elif suffix == ".md":
        assert lines[1] == "| --- | --- |" + " ---: |" * 8
        assert lines[2].startswith("| b | all | +")
    else:
        assert (lines[0], lines[-1]) == (r"\begin{tabular}{llrrrrrrrr}", r"\end{tabular}")
        assert r"scenes: mc\_2" in out.read_text()
        assert all(line.endswith(r"\\") for line in lines[4:-2])


def test_exports_and_runs_that_cannot_be_used(vid, runs, tmp_path):
    for words, message in (
        ([*runs, "--export", tmp_path / "t.xls"], "--export must end in .md, .tex, .csv, got 't.xls'"),
        ([*runs, "--export", tmp_path / "no/t.md"], "the folder of --export does not exist"),
        ([runs[0], runs[1], runs[1]], "a run is given twice among"),
    ):
        done = vid("compare", *words)
        assert (done.code, message in done.err) == (2, True), done.err
