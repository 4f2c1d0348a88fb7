"""Results as pages and Markdown: every figure is told, and nothing runs or loads."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.evaluation.evaluation_predictions import made_predictions
from vidweave.evaluation.compare import compare
from vidweave.evaluation.report import Report
from vidweave.report.intervals import Figure, intervals
from vidweave.report.results import comparison_markdown, comparison_page, results_markdown, results_page
from vidweave.report.svg import to_svg


@pytest.fixture(scope="module")
def results():
    predictions = made_predictions(60, 0.7)
    rules = {"uniform": {r.id: 1 / len(r.options) for r in predictions}, "never": {r.id: 0.0 for r in predictions}}
    report = Report.of(predictions, task={"name": "scenes"}, model={"model": "<b>tiny</b>"}, baselines=rules)
    row = {
        "name": "OneLLM",
        "source": "paper",
        "metric": "top-1 %",
        "overall": 32.0,
        "facets": {"scenes": {"mc_2": 52}},
    }
    return json.loads(json.dumps({**report.to_dict(), "published": [row]}))


def test_the_page_reports_ours_rules_papers_and_breakdowns(results):
    page = results_page(results).html()
    overall = results["overall"]
    for text in (
        f"{overall['accuracy']:.1%}",
        f"{overall['num_correct']} of 60",
        "uniform",
        "never",
        "published: paper",
    ):
        assert text in page
    for text in (
        "32.0%",
        "By scenes",
        "mc_4",
        "By question type",
        "option A",
        "no option",
        "OneLLM (published)",
        "versions",
    ):
        assert text in page


def test_question_types_that_are_a_facet_too_are_reported_once(results):
    question_types = results["facets"]["scenes"]
    again = {**results, "question_types": question_types}
    assert "By question type" not in results_page(again).html()
    assert "## By question type" not in results_markdown(again)
    result = compare(made_predictions(60, 0.8, seed=1), made_predictions(60, 0.5, seed=2)).to_dict()
    assert "By question type" in comparison_page(result).html()
    assert "By question type" not in comparison_page({**result, "question_types": result["facets"]["scenes"]}).html()


def test_long_names_are_reported_whole_and_colours_stay_from_chart_to_chart(results):
    name = "similarity, mc_4, audio+image+pc+video, audio"
    groups = [{**results["overall"], "question_type": name + end} for end in ("", ".")]
    published = [
        {**results["published"][0], "name": paper, "facets": {facet: {name: 40} for facet in facets}}
        for paper, facets in (("First", "a"), ("Second", "ab"))
    ]
    page = results_page({**results, "facets": {"a": groups, "b": groups}, "published": published}).html()
    assert page.count(f">{name}<") == 2
    legends = re.findall(r'fill="(#\w+)"[^>]*>Second \(published\)<', page)
    assert len(legends) == 2
    assert len(set(legends)) == 1


def test_controls_measures_and_coverage_are_reported(results):
    control = {**results["overall"], "accuracy": 0.125, "question_type": "question alone"}
    more = {
        "controls": {"question alone": control},
        "measures": {"MSNR": 1.25, "none": None},
        "coverage": {"left_out": 7},
    }
    for text in (results_page({**results, **more}).html(), results_markdown({**results, **more})):
        for info in ("question alone", "12.5%", "MSNR", "1.250", "no value", "left_out"):
            assert info in text


def test_the_page_stands_alone_and_runs_nothing(results, tmp_path):
    page = results_page(results)
    assert "<b>tiny" not in page.html()
    assert not re.search(r'(src|href)="(?!data:)|<script', page.html())
    html, frame = page.save(tmp_path / "r.html")
    assert html.stat().st_size > 1000
    assert frame.read_bytes()[:4] == b"\x89PNG"


def test_markdown_has_the_same_figures(results):
    text = results_markdown(results)
    assert text.startswith("# <b>tiny</b> on scenes\n")
    lines = text.splitlines()
    assert f"| never | 0.0% |  | model +{results['overall']['accuracy']:.1%}" in text
    (header,) = [line for line in lines if line.startswith("| scenes |")]
    assert header == "| scenes | accuracy | 95% interval | right | uniform | OneLLM (published) |"
    (row,) = [line for line in lines if line.startswith("| mc_2 |")]
    assert row.endswith("| 50.0% | 52.0% |")
    assert len({line.count("|") for line in lines if line.startswith("| mc_")}) == 1


def test_two_runs_compared_are_drawn_around_zero():
    result = compare(made_predictions(60, 0.8, seed=1), made_predictions(60, 0.5, seed=2)).to_dict()
    page, text = comparison_page(result).html(), comparison_markdown(result)
    for info in (f"{result['overall']['difference']:+.1%}", "By scenes", "missing in first", "first minus second"):
        assert info in page
        assert info in text
    named = {**result, "first": {"model": {"model": "ours"}}, "second": {"model": {"model": "theirs"}}}
    assert "Overall: ours minus theirs" in comparison_page(named).html()


def test_a_bar_is_as_long_as_its_value_and_marks_have_a_legend():
    rows = [Figure(name=f"r{v}", value=v, low=v / 2, high=v, marks={"rule": 0.5}) for v in (0.25, 0.5, 1.0)]
    drawing = intervals(rows)
    quarter, half, full = (shape.width for shape in drawing.shapes if type(shape).__name__ == "Box")
    assert (half, full) == pytest.approx((2 * quarter, 4 * quarter))
    assert to_svg(drawing).count(">rule<") == 1


def test_many_rows_are_cut_and_counted(results):
    groups = [{**results["overall"], "question_type": f"g{i}"} for i in range(75)]
    page = results_page({**results, "facets": {"id": groups}}).html()
    assert "15 more rows are in the JSON data" in page
