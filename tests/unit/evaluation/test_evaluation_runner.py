"""Running a task: every question once, resumed or not; reports that add up."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console

from vidweave.data.schema import Example
from vidweave.errors import ConfigError, PredictionError
from vidweave.evaluation import runner
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.runner import accuracy_by_type, progress_bar, run
from vidweave.types import Answer, Query


class LetterTask:
    """Item i asks for letter i; question types take turns."""

    def __init__(self, count: int = 11) -> None:
        self.count, self.made = count, []

    def ids(self):
        return [f"item-{i}" for i in range(self.count)]

    def example(self, index):
        self.made.append(index)
        query = Query.about("clip.mp4", f"Letter {index}?", ("a", "b", "c", "d")[: 2 + 2 * (index % 2)])
        return Example(id=f"item-{index}", question_type=("two", "four")[index % 2], query=query, answer="b")

    def describe(self):
        return {"name": "letters"}


class Says:
    """Always says one thing; stops the run after some batches if told to."""

    def __init__(self, text: str, fail_after: int | None = None, **facts) -> None:
        self.text, self.fail_after, self.facts, self.batches, self.decoding = text, fail_after, facts, [], []

    def answer(self, queries, **decoding):
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(queries))
        self.decoding.append(decoding)
        return [Answer(self.text) for _ in queries]

    def describe(self):
        return {"model": "says", "text": self.text, **self.facts}


def test_every_item_is_asked_once_in_batches_and_counted_by_question_type(tmp_path):
    answerer, task = Says("b"), LetterTask()
    report = run(answerer, task, tmp_path / "r.jsonl", batch_size=4, progress=False, decoding={"num_frames": 3})
    assert answerer.batches == [4, 4, 3]
    assert answerer.decoding == [{"num_frames": 3}] * 3
    assert task.made == list(range(11))
    assert [(f.question_type, f.num_correct, f.num_items, f.chance) for f in report.question_types] == [
        ("two", 6, 6, 0.5),
        ("four", 5, 5, 0.25),
    ]
    assert (report.overall.accuracy, report.num_resumed) == (1.0, 0)
    assert report.question_types[0].low == pytest.approx(0.6097, abs=1e-4)  # 6 of 6 at 95%
    data = json.loads(json.dumps(report.to_dict()))
    assert data["question_types"][1]["accuracy"] == 1.0
    assert data["model"]["model"] == "says"


def test_accuracy_by_type_counts_and_keeps_nothing():
    task, answerer = LetterTask(), Says("b")
    examples = [replace(task.example(i), answer="b" if i < 4 else "a") for i in range(11)]
    assert accuracy_by_type(answerer, examples, batch_size=4) == {"two": 2 / 6, "four": 2 / 5}
    assert answerer.batches == [4, 4, 3]


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    whole = run(Says("b"), LetterTask(), tmp_path / "whole.jsonl", batch_size=3, progress=False)
    path = tmp_path / "r.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Says("b", fail_after=2), LetterTask(), path, batch_size=3, progress=False)
    answerer, task = Says("b"), LetterTask()
    report = run(answerer, task, path, batch_size=2, progress=False)
    assert task.made == [6, 7, 8, 9, 10]
    assert report.num_resumed == 6
    assert report.question_types == whole.question_types
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    again = Says("b")
    assert run(again, LetterTask(), path, progress=False).question_types == whole.question_types
    assert again.batches == []


def test_a_limit_can_grow_and_the_report_is_about_it(tmp_path):
    path = tmp_path / "r.jsonl"
    assert run(Says("b"), LetterTask(), path, limit=4, progress=False).overall.num_items == 4
    assert run(Says("b"), LetterTask(), path, limit=7, progress=False).num_resumed == 4
    assert run(Says("b"), LetterTask(), path, limit=2, progress=False).overall.num_items == 2
    assert len(read_predictions(path)[1]) == 7


def test_another_model_or_setting_needs_another_file(tmp_path):
    path = tmp_path / "r.jsonl"
    run(Says("b"), LetterTask(), path, limit=2, progress=False)
    with pytest.raises(PredictionError, match=r"model\.text: recorded 'b', now 'a'"):
        run(Says("a"), LetterTask(), path, progress=False)
    with pytest.raises(PredictionError, match=r"decoding\.num_frames: recorded None, now 5"):
        run(Says("b"), LetterTask(), path, progress=False, decoding={"num_frames": 5})


def test_invalid_settings(tmp_path):
    for settings in ({"batch_size": 0}, {"limit": 0}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            run(Says("b"), LetterTask(), tmp_path / "r.jsonl", **settings)
    with pytest.raises(ConfigError, match="no examples"):
        run(Says("b"), LetterTask(0), tmp_path / "r.jsonl")


def test_progress_goes_to_stderr_and_the_table_reports_all(tmp_path, capsys):
    report = run(Says("b"), LetterTask(), tmp_path / "r.jsonl", progress=True)
    assert capsys.readouterr().out == ""
    text = io.StringIO()
    Console(file=text, width=120).print(report.table())
    for word in ("says on letters", "two", "four", "100.0%", "61.0% to 100.0%", "50.0%", "all", "11"):
        assert word in text.getvalue()


@pytest.mark.parametrize(
    ("output", "ok"), [("Red", True), (" red. ", True), ("red  ball", False), ("reddish", False), ("", False)]
)
def test_what_counts_as_right(output, ok):
    assert is_correct(output, "red") is ok


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from test_evaluation_runner import LetterTask, Says
from vidweave.evaluation.runner import run

class Slow(Says):
    def answer(self, queries, **decoding):
        time.sleep(0.002)
        return super().answer(queries)

print("ready", flush=True)
run(Slow("b"), LetterTask(2000), {path!r}, batch_size=3, progress=False)
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_one_prediction_per_item(tmp_path):
    path = tmp_path / "r.jsonl"
    code = KILLED.format(here=os.path.dirname(__file__), path=str(path))
    counts = [0]
    for turn in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1 + 0.07 * turn)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if path.exists() and b"\n" in path.read_bytes():
            counts.append(len(read_predictions(path)[1]))
    assert counts == sorted(counts)
    assert counts[-1] > 0
    report = run(Says("b"), LetterTask(2000), path, progress=False)
    assert report.num_resumed >= counts[-1]
    assert [r.id for r in read_predictions(path)[1]] == LetterTask(2000).ids()


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 3.0, 12.0, 12.0, 15.0, 23.0, 23.0])
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(now))
    lines = runner._Lines("asking", 40, 4, clock=lambda: next(now))
    for _ in range(4):
        lines(9)
    assert capsys.readouterr().err.splitlines() == ["asking: 22 of 40", "asking: 40 of 40"]
    with progress_bar("asking", 3) as advance:  # stderr is no terminal here
        assert isinstance(advance, runner._Lines)
    with progress_bar("asking", 3, show=False) as advance:
        advance(1)
