"""A run in several processes, by the environment of torchrun and of Slurm arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vidweave
from vidweave.cli.main import run
from vidweave.errors import ConfigError
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.processes import Part, merge_parts, part_of_environment
from vidweave.media.write import write_video
from vidweave.types import Answer, Frames

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT",
             "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")  # fmt: skip


class Counts:
    """Answers and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked = []

    def answer(self, queries, **decoding):
        self.asked += [query.text for query in queries]
        return [Answer("yes" if len(query.text) % 2 else "no") for query in queries]

    def describe(self):
        return {"model": "counts"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    for name in "abcde":
        write_video(folder / f"{name}.mp4", Frames.from_array(np.zeros((4, 32, 32, 3), np.uint8), fps=4))
    rows = [
        {"video": f"{'abcde'[i % 5]}.mp4", "question": "?" * (i + 1), "options": ["yes", "no"], "answer": "yes"}
        for i in range(20)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def model(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    model = Counts()
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    return model


def evaluated(capsys, *words):
    code = run(["evaluate", *map(str, words), "--json"])
    reply = capsys.readouterr()
    assert code == 0, reply.err
    return json.loads(reply.out)


def test_each_process_asks_its_part_and_the_last_one_reports(folder, model, tmp_path, capsys, monkeypatch):
    words = (folder / "own.jsonl", "--baselines", "--predictions")
    whole = evaluated(capsys, *words, tmp_path / "whole.jsonl")
    asked = sorted(model.asked)
    model.asked.clear()
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, waiting in ((2, [1, 2]), (0, [2])):
        monkeypatch.setenv("RANK", str(rank))
        result = evaluated(capsys, *words, tmp_path / "r.jsonl")
        assert (result["part"], result["num_parts"], result["waiting_for"]) == (rank + 1, 3, waiting)
        assert not (tmp_path / "r.jsonl").exists()
    monkeypatch.setenv("RANK", "1")
    result = evaluated(capsys, *words, tmp_path / "r.jsonl")
    assert sorted(model.asked) == asked, "every question is asked once, and of each baseline"
    for name in ("overall", "scores", "baselines", "remainder", "counts"):
        assert result[name] == whole[name]
    for slug in ("", ".options-alone", ".question-alone", ".middle-frame"):
        one, other = (
            {p.id: p for p in read_predictions(tmp_path / f"{name}{slug}.jsonl")[1]} for name in ("whole", "r")
        )
        assert one == other
    model.asked.clear()
    assert evaluated(capsys, *words, tmp_path / "r.jsonl")["overall"] == whole["overall"]
    assert not model.asked
    assert {path.name for path in tmp_path.glob(".*")} == {f".{path.name}.lock" for path in tmp_path.glob("*.jsonl")}, (
        "merging leaves no other file"
    )


def test_a_process_whose_baselines_are_not_finished_is_waited_for(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = (folder / "own.jsonl", "--baselines", "--predictions", tmp_path / "r.jsonl")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        evaluated(capsys, *words)
    (tmp_path / "r.jsonl").unlink()
    (tmp_path / "r.part-2-of-2.middle-frame.jsonl").unlink()  # as if still at it
    assert evaluated(capsys, *words)["waiting_for"] == [2]


def test_more_processes_than_recordings(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "7")
    results = []
    for task in range(1, 8):
        monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        results.append(evaluated(capsys, folder / "own.jsonl", "--predictions", tmp_path / "r.jsonl"))
    assert len(model.asked) == 20
    assert [("overall" in result) for result in results] == [False] * 4 + [True] + [False] * 2
    assert results[4]["overall"]["num_items"] == 20


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 9), st.integers(1, 4))
def test_ranks_in_array_tasks_cover_every_part_once(world, tasks, first, step):
    parts = [
        part_of_environment(
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_RANK": str(rank % 2),
                "SLURM_ARRAY_TASK_COUNT": str(tasks),
                "SLURM_ARRAY_TASK_ID": str(first + step * task),
                "SLURM_ARRAY_TASK_MIN": str(first),
                "SLURM_ARRAY_TASK_STEP": str(step),
            }
        )
        for task in range(tasks)
        for rank in range(world)
    ]
    assert all(part is not None and part.number == world * tasks for part in parts)
    assert [part.index for part in parts if part] == list(range(world * tasks))
    assert parts[1] is not None
    assert (parts[1].local_rank, parts[1].source) == (1, "torchrun in the Slurm array")


def test_single_processes_and_variables_that_make_no_sense():
    assert part_of_environment({}) is None
    assert part_of_environment({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert part_of_environment({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "1"}) is None
    assert part_of_environment({"RANK": "1"}) is None
    for variables, message in (
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK must be a whole number, got 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK must be below WORLD_SIZE, got 2 and 2"),
        ({"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "3"}, r"must be a range such as --array=0-2, got task 9"),
        (
            {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1",
             "SLURM_ARRAY_TASK_STEP": "2"},
            "must be a range",
        ),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            part_of_environment(variables)


def test_what_several_processes_need(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    words = ["evaluate", str(folder / "own.jsonl")]
    predictions = ["--predictions", str(tmp_path / "r.jsonl")]
    for more, message in (
        ([], "torchrun runs 2 processes, which write their predictions beside each other; give --predictions FILE"),
        ([*predictions, "--frames", "1,2"], "a sweep is one process, and torchrun runs 2"),
    ):
        assert run([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert run([*words, *predictions]) == 0
    text = capsys.readouterr().out
    assert "part 2 of 2 is in" in text
    assert "the last process to finish merges all parts" in text
    # --shard says it itself
    assert evaluated(capsys, folder / "own.jsonl", "--shard", "1/4")["overall"]["num_items"] == 8


def test_a_damaged_part_is_waited_for(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    evaluated(capsys, folder / "own.jsonl", "--predictions", tmp_path / "r.jsonl")
    from vidweave.evaluation.targets import find_target, make_task

    task = make_task(find_target(str(folder / "own.jsonl")))
    (tmp_path / "r.part-2-of-2.jsonl").write_text("")
    assert merge_parts(Part(index=0, number=2, source="torchrun"), task, tmp_path / "r.jsonl") == [1]


def test_parts_without_answers_write_one_submission(folder, model, tmp_path, capsys, monkeypatch):
    rows = [{"video": f"{name}.mp4", "question": "What?"} for name in "ab"]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        result = evaluated(capsys, tmp_path / "own.jsonl", f"media={folder}", "--predictions", tmp_path / "r.jsonl")
    assert result["written"] == {"replies": str(tmp_path / "r.submission.jsonl")}
    assert len((tmp_path / "r.submission.jsonl").read_text().splitlines()) == 2
    assert not list(tmp_path.glob("*part*submission*"))
