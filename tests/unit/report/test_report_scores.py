"""Scores, denominators and time in the report of a benchmark."""

from __future__ import annotations

from vidweave.evaluation.benchmarks.result import BenchmarkResult, Counts
from vidweave.evaluation.benchmarks.scoring import Values
from vidweave.evaluation.scorers.table import ScoreTable, Tally
from vidweave.evaluation.statistics import Interval
from vidweave.report.scores import scores_markdown, scores_sections


def results():
    table = ScoreTable(
        scorer="set-official",
        groups={"why": Tally(num_correct=1, num_items=3), "none": Tally(num_correct=0, num_items=0)},
        overall=Tally(num_correct=2, num_items=8),
        answered=Tally(num_correct=2, num_items=5),
        defects=("counts TP as TN",),
    )
    result = BenchmarkResult(
        report=None,
        scores=(table, Values(scorer="judge", values={"accuracy": 0.25}, note="judge m")),
        counts=Counts(total=9, answered=5, missing_media=3, unlabeled=1, videos=4),
        all_questions=Tally(num_correct=2, num_items=8),
        clustered=Interval(0.1, 0.6),
        remainder=Tally(num_correct=1, num_items=4),
        notes=("3 of 9 examples are skipped: their media are missing",),
    )
    timing = {"seconds": {"decode": 3.0, "encode": 1.0, "hash": 0.0}, "bookkeeping_cpu_ms_per_question": 0.5}
    return {**result.to_dict(), "overall": {"num_items": 5, "accuracy": 0.4}, "timing": timing}


def test_everything_a_score_depends_on_is_in_the_markdown():
    text = "\n".join(scores_markdown(results()))
    for line in (
        "| set-official | why | 33.33% | 1 of 3 |",
        "| set-official | overall | 25.00% | 2 of 8 |",
        "| set-official | answered | 40.00% | 2 of 5 |",
        "| judge | accuracy | 0.25 |  |",
        "- over all 8 questions with an answer: 25.0% (3 without media, wrong); over the 5 that were asked: 40.0%",
        "- 95% interval by recording (4): 10.0% to 60.0%",
        "- over the 4 questions that no baseline of the model answers: 25.0%",
        "- set-official: counts TP as TN",
        "- judge: judge m",
        "- bookkeeping: 0.50 ms of CPU per question",
        "- 3 of 9 examples are skipped: their media are missing",
        "| decode | 3.00 |",
    ):
        assert line in text
    assert "| set-official | none" not in text
    assert "hash" not in text


def test_the_page_says_the_same():
    sections = dict(scores_sections(results()))
    assert list(sections) == [
        "Scores of the data set's scorers",
        "Denominators, intervals and notes",
        "Time of the run",
    ]
    texts = [shape.text for drawing in sections.values() for shape in drawing.shapes if hasattr(shape, "text")]
    assert {"33.33%", "2 of 8", "3 s  (75%)", "1 s  (25%)"} <= set(texts)
    bars = [shape.width for shape in sections["Time of the run"].shapes if hasattr(shape, "fill")]
    assert bars[0] == 3 * bars[1]


def test_a_task_without_scores_has_no_such_sections():
    assert list(scores_sections({"overall": {}, "timing": {}})) == []
    assert scores_markdown({"overall": {}, "notes": []}) == []
