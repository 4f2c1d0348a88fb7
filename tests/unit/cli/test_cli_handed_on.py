"""What a command parses it hands on: every option of every command, and for evaluations what arrives below."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import typer

from tests.unit.contra4.contra4_questions import question
from vidweave.cli.app import app
from vidweave.contra4.schema import SceneRef, write_questions
from vidweave.contra4.toy import TOY_SOURCE
from vidweave.registry import TASKS
from vidweave.toyworld.scene import sample_scene


def commands(group: Any = app, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, function) of every command."""
    for command in group.registered_commands:
        yield f"{name} {command.name or command.callback.__name__}".strip(), command.callback
    for sub in group.registered_groups:
        yield from commands(sub.typer_instance, f"{name} {sub.typer_instance.info.name}".strip())


def parameters_left(function: Any) -> set[str]:
    """Parameters whose values go nowhere: never read, or only compared with None."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    tests = [node for node in ast.walk(definition) if isinstance(node, ast.Compare)]
    compared = {
        id(node.left)
        for node in tests
        if isinstance(node.ops[0], (ast.Is, ast.IsNot)) and isinstance(node.left, ast.Name)
    }
    body = [node for statement in definition.body for node in ast.walk(statement)]
    read = {n.id for n in body if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in compared}
    arguments = definition.args  # not the signature: some commands are given an option per modality
    named = [*arguments.args, *arguments.kwonlyargs, *filter(None, [arguments.vararg, arguments.kwarg])]
    return {argument.arg for argument in named} - read


@pytest.mark.parametrize(
    ("name", "function"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_option_is_parsed_and_dropped(name, function):
    assert parameters_left(function) == set(), name


def test_the_check_can_fail():
    def command(frames: int | None = None, orders: bool = False, limit: int = 3) -> dict[str, int]:
        return {"num_frames": 1} if frames is not None else {"limit": limit}

    assert parameters_left(command) == {"frames", "orders"}


# -- what arrives below, for the commands that evaluate


@pytest.fixture
def split(tmp_path):
    """Questions about drawn scenes."""
    asked = []
    for number in range(4):
        seeds = [s for s in range(90_000 + 50 * number, 90_050 + 50 * number) if sample_scene(s).beeper is not None][:2]
        scenes = tuple(
            SceneRef(source=TOY_SOURCE, id=seed, modality=modality, caption="a thing")
            for seed, modality in zip(seeds, ("video", "audio" if number < 2 else "depth"), strict=True)
        )
        asked.append(replace(question(number, scenes=2, answer=0), scenes=scenes))
    write_questions(tmp_path / "split.json", asked)
    return tmp_path / "split.json"


CONTRA4_OPTIONS: dict[str, list[Any]] = {
    "model": ["--model", "longest-caption"],
    "mode": ["--mode", "apart"],
    "base_url": ["--mode", "captions", "--base-url", "http://127.0.0.1:9/v1"],
    "media": ["--media", "own=FOLDER"],
    "captions": ["--captions", "CAPTIONS"],
    "style": ["--mode", "captions", "--base-url", "http://127.0.0.1:9/v1", "--style", "text"],
    "modality": ["--modality", "video", "--modality", "audio"],
    "fit_on": ["--fit-on", "SPLIT"],
    "controls": ["--controls"],
    "orders": ["--orders"],
    "predictions": ["--predictions", "FOLDER/r.jsonl"],
    "limit": ["--limit", 3],
    "batch_size": ["--batch-size", 5],
    "frames": ["--frames", 7],
    "device": ["--device", "cpu"],
    "dtype": ["--dtype", "bfloat16"],
}


def test_every_option_of_contra4_evaluate_arrives(vid, model, split, tmp_path, monkeypatch):
    from vidweave.cli.contra4.evaluate import evaluate as command
    from vidweave.contra4 import evaluate as below
    from vidweave.contra4.media import Media

    arrived: list[Any] = []
    monkeypatch.setattr(Media, "from_settings", lambda settings: arrived.append(settings) or Media())

    def spy(answerer, what, path):
        facts = {f.name: getattr(what, f.name) for f in fields(what)}
        facts["locate"] = facts["locate"] is not None
        facts["questions"], facts["fit_on"] = [q.id for q in what.questions], len(what.fit_on or ())
        arrived.append((type(answerer).__name__, answerer.describe(), facts, "predictions.jsonl" in str(path)))
        raise typer.Exit(0)

    monkeypatch.setattr(below, "evaluate", spy)
    (tmp_path / "captions.json").write_text('[{"source": "s", "id": 1, "caption": "a word"}]')
    names = {"FOLDER": str(tmp_path), "SPLIT": str(split), "CAPTIONS": str(tmp_path / "captions.json")}

    def outcome(*options: Any) -> str:
        arrived.clear()
        model.loads.clear()
        words = [str(option) for option in options]
        for name, value in names.items():
            words = [word.replace(name, value) for word in words]
        done = vid(
            "contra4", "evaluate", "--split", split, *([] if "--model" in words else ["--model", "tiny-merv"]), *words
        )
        assert done.code == 0, done.err
        return repr((arrived, model.loads))

    rest = {"split", "report_file", "as_json"}  # what is measured at all; how it is written, tested with the reports
    assert set(inspect.signature(command).parameters) == {*CONTRA4_OPTIONS, *rest}
    result = {"": outcome(), **{name: outcome(*options) for name, options in CONTRA4_OPTIONS.items()}}
    alike = [(a, b) for a in result for b in result if a < b and result[a] == result[b]]
    assert not alike
    assert "'num_frames': 7" in result["frames"]


TASK_OPTIONS: dict[str, list[Any]] = {
    "model": ["--model", "tiny-merv"],
    "task": ["--task", "spied-two"],
    "target": ["spied-two", "--limit", 4],
    "settings": ["depth=3"],
    "data": ["--data", "FOLDER/d"],
    "predictions": ["--predictions", "FOLDER/r.jsonl"],
    "examples": ["--examples", 5],
    "limit": ["--limit", 3],
    "batch_size": ["--batch-size", 5],
    "seed": ["--seed", 9],
    "question_type": ["--question-type", "colour", "--question-type", "size"],
    "modality": ["--modality", "audio"],
    "folder": ["--folder", "FOLDER"],
    "workers": ["--workers", 2],
    "beams": ["--beams", 3],
    "frames": ["--frames", 7],
    "fps": ["--fps", 2],
    "selector": ["--selector", "uniform"],
    "selector_model": ["--selector", "similarity", "--selector-model", "FOLDER"],
    "prompt": ["--prompt", "short"],
    "parser": ["--parser", "merv"],
    "shard": ["--shard", "2/3"],
    "device": ["--device", "cpu"],
    "dtype": ["--dtype", "bfloat16"],
    "cache": ["--cache", "FOLDER/c"],
    "adapter": ["--adapter", "FOLDER/a"],
}
DATASET_OPTIONS: dict[str, list[Any]] = {
    "judge": ["--judge", "m"],
    "judge_url": ["--judge", "m", "--judge-url", "http://127.0.0.1:9/v1"],
    "judge_batch": [
        *("--judge", "m", "--judge-url", "http://127.0.0.1:9/v1", "--judge-batch"),
        *("--predictions", "FOLDER/judged.jsonl"),
    ],
    "metric": ["--metric", "meteor"],
    "submission": ["--submission", "FOLDER/p.jsonl"],
    "baselines": ["--baselines"],
    "grounding": ["--grounding", "reply"],
    "workers": ["--workers", 2],
    "beams": ["--beams", 3],
    "prompt": ["--prompt", "short"],
    "parser": ["--parser", "merv"],
    "shard": ["--shard", "2/3"],
    "limit": ["--limit", 3],
    "batch_size": ["--batch-size", 5],
    "frames": ["--frames", 7],
    "fps": ["--fps", 2],
}


def test_every_option_of_evaluate_arrives(vid, model, tmp_path, monkeypatch):
    from vidweave.cli.evaluate import evaluate as command
    from vidweave.evaluation import runner

    class Spied:
        def __init__(self, **settings: Any) -> None:
            self.settings = settings

    class Two(Spied): ...

    arrived: list[Any] = []

    def spy(answerer, task, path, **arguments):
        arrived.append((type(task).__name__, task.settings, "r.jsonl" in path.name, path.parent == tmp_path, arguments))
        raise typer.Exit(0)

    monkeypatch.setattr(runner, "run", spy)
    TASKS.register("spied-one", Spied)
    TASKS.register("spied-two", Two)

    def outcome(*options: Any) -> str:
        arrived.clear()
        model.loads.clear()
        words = [str(option).replace("FOLDER", str(tmp_path)) for option in options]
        done = vid("evaluate", *([] if {"--task", "spied-two"} & {*words} else ["--task", "spied-one"]), *words)
        assert done.code == 0, done.err
        return repr((arrived, model.loads))

    try:
        expected = {*TASK_OPTIONS, *DATASET_OPTIONS, "report_file", "as_json"}
        assert set(inspect.signature(command).parameters) == expected
        result = {"": outcome(), **{name: outcome(*options) for name, options in TASK_OPTIONS.items()}}
        refused = vid("evaluate", "spied-one", "--judge", "m")
        assert (refused.code, "--judge applies to data sets" in refused.err) == (2, True)
    finally:
        TASKS.unregister("spied-one")
        TASKS.unregister("spied-two")
    assert not [(a, b) for a in result for b in result if a < b and result[a] == result[b]]


def test_every_option_of_a_data_set_arrives(vid, model, clip, tmp_path, monkeypatch):
    from vidweave.engines import local
    from vidweave.evaluation.benchmarks import measure

    arrived: list[Any] = []

    def spy(answerer, task, path, arguments):
        judge = arguments.judge and {
            k: str(v) for k, v in vars(arguments.judge.engine).items() if k in ("model", "base_url", "state")
        }
        facts = {f.name: getattr(arguments, f.name) for f in fields(arguments)} | {"judge": judge}
        arrived.append((task.name, facts))
        raise typer.Exit(0)

    monkeypatch.setattr(measure, "measure", spy)
    monkeypatch.setattr(local, "TransformersEngine", lambda name: type("Local", (), {"model": name})())
    row = {"video": str(clip.name), "question": "Which?", "answer": "it", "start": 0, "end": 1}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))

    def outcome(*options: Any) -> str:
        arrived.clear()
        words = [str(option).replace("FOLDER", str(tmp_path)) for option in options]
        done = vid("evaluate", tmp_path / "own.jsonl", f"media={clip.parent}", *words)
        assert done.code == 0, done.err
        return repr(arrived)

    result = {"": outcome(), **{name: outcome(*options) for name, options in DATASET_OPTIONS.items()}}
    assert not [(a, b) for a in result for b in result if a < b and result[a] == result[b]]
    alone = vid("evaluate", tmp_path / "own.jsonl", f"media={clip.parent}", "--judge-url", "http://127.0.0.1:9/v1")
    assert (alone.code, "--judge-url needs --judge NAME" in alone.err) == (2, True)
    for wrong in ("4/3", "0/3", "x", "1"):
        refused = vid("evaluate", tmp_path / "own.jsonl", f"media={clip.parent}", "--shard", wrong)
        assert (refused.code, f"--shard must be I/N with I from 1 to N, e.g. 1/4, got '{wrong}'" in refused.err) == (
            2,
            True,
        )


@pytest.mark.parametrize(
    ("options", "status"), [([], "missing"), (["--no-decode"], "missing"), (["--media", "own=FOLDER/none"], "missing")]
)
def test_contra4_doctor_fails_whenever_a_medium_is_bad(vid, tmp_path, options, status):
    scenes = tuple(SceneRef(source="own", id=f"{i}.wav", modality="audio", caption="x") for i in range(2))
    write_questions(tmp_path / "q.json", [replace(question(0, scenes=2), scenes=scenes)])
    words = ["--media", f"own={tmp_path}", *(option.replace("FOLDER", str(tmp_path)) for option in options)]
    done = vid("contra4", "doctor", tmp_path / "q.json", *words, "--json")
    assert (done.code, done.data["ok"], {row["status"] for row in done.data["bad"]}) == (1, False, {status})
    for i in range(2):
        (tmp_path / f"{i}.wav").write_bytes(b"no sound")
    kept = vid("contra4", "doctor", tmp_path / "q.json", "--media", f"own={tmp_path}", "--json")
    assert (kept.code, {row["status"] for row in kept.data["bad"]}) == (1, {"undecodable"})
    there = vid("contra4", "doctor", tmp_path / "q.json", "--media", f"own={tmp_path}", "--no-decode", "--json")
    assert (there.code, there.data["ok"]) == (0, True)
