"""Names that others register, through the installed command: by a file with `--import`, and by an installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OWN = """
from dataclasses import dataclass, replace
from typing import ClassVar

from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.model.config import VideoLanguageConfig
from vidweave.registry import DATASETS, ENCODERS, MODELS, TASKS
from vidweave.systems.tiny.preset import tiny_base


def own_data(seed: int, question_types: tuple[str, ...] = ("color",)):
    yield from (replace(e, question_type="own") for e in ToyQuestions(seed, 2, question_types=question_types))


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    count: int = 3

    def ids(self):
        return [f"q{i}" for i in range(self.count)]

    def example(self, index):
        example = ToyQuestions(4, 3, question_types=["count"])[index]
        return replace(example, id=f"q{index}", question_type="own")

    def describe(self):
        return {"name": "own-task", "count": self.count}


@dataclass(frozen=True, kw_only=True)
class OwnEncoder(PatchEncoderConfig):
    kind: ClassVar[str] = "own-encoder"


def own_model():
    config = tiny_base()
    spec = config.parse()
    (name, encoder), *_ = spec.encoders.items()
    data = {k: v for k, v in encoder.to_dict().items() if k != "kind"}
    own = {"kind": "own-encoder", **data}
    return VideoLanguageConfig(replace(spec, encoders={**spec.encoders, name: own}), name="own-model")


DATASETS.register("own-data", own_data, summary="questions of mine")
TASKS.register("own-task", OwnTask)
ENCODERS.register("own-encoder", OwnEncoder, summary="patches of mine")
MODELS.register("own-model", own_model)
"""


def vidweave(*arguments: Any, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed console script; `path` is a folder of installed packages."""
    folders = [os.environ.get("PYTHONPATH", ""), str(path or "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    script = Path(sys.executable).with_name("vidweave")
    command = [str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=env)


def data_of(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file that registers names; commands run in an empty folder beside it."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    path = tmp_path / "own_names_of_mine.py"
    path.write_text(OWN.replace('"color"', '"colour"'))
    return path


@pytest.mark.slow
def test_a_file_registers_names_that_commands_take(own):
    listed = data_of(vidweave("list", "encoders", "--json", "--import", own))["encoders"]
    assert {"name": "own-encoder", "plugin": "", "summary": "patches of mine"} in listed
    slots = data_of(vidweave("--import", own, "models", "show", "own-model", "--json"))["slots"]
    assert sum(slot["parameters"] for slot in slots) > 1000
    unknown = vidweave("models", "show", "own-model")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "unknown model 'own-model'" in unknown.stderr


@pytest.mark.slow
def test_a_file_registers_a_data_set_and_a_task_that_evaluate_takes(own):
    report = data_of(vidweave("evaluate", "own-data", "seed=5", "--json", f"--import={own}"))
    assert report["task"] == {"name": "own-data", "seed": 5}
    assert {question_type["question_type"] for question_type in report["question_types"]} == {"own"}
    report = data_of(vidweave("evaluate", "own-task", "count=2", "--json", "--import", own))
    assert (report["task"], report["overall"]["num_items"]) == ({"name": "own-task", "count": 2}, 2)


@pytest.mark.slow
def test_settings_are_checked_before_a_model_is_loaded(own):
    for words, message in {
        ("own-task", "cuont=2"): "unknown setting of task 'own-task' 'cuont'; did you mean 'count'?",
        ("own-task", "count=many"): "task 'own-task'.count must be int, got 'many'",
        ("own-data",): "the data set 'own-data' needs seed=…; see `vidweave list`",
    }.items():
        done = vidweave("evaluate", *words, "--import", own)
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_an_installed_package_brings_names_and_a_broken_one_is_one_warning(tmp_path):
    for name, text in {"good": "own = own_modality_module\n", "bad": "other = own_missing_module\n"}.items():
        info = tmp_path / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vidweave.datasets]\n{text}direct-{name} = own_missing_module:X\n")
    (tmp_path / "own_modality_module.py").write_text(
        "from vidweave.registry import DATASETS\nDATASETS.register('plugged', print, summary='by a plug-in')\n"
    )
    done = vidweave("list", "datasets", "--json", path=tmp_path)
    names = {row["name"]: row for row in data_of(done)["datasets"]}
    assert names["plugged"]["summary"] == "by a plug-in"
    assert names["direct-good"]["plugin"] == "good-plugin"
    assert done.stderr == (
        "warning: the plug-in bad-plugin is left out: its entry point 'other' of vidweave.datasets fails: "
        "ModuleNotFoundError: No module named 'own_missing_module'\n"
    )
    done = vidweave("evaluate", "direct-bad", path=tmp_path)
    assert done.returncode == 2
    assert "error: 'direct-bad' of the plug-in bad-plugin cannot be imported from own_missing_module:X" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "own_fails.py",
            "raise ValueError('no')",
            "--import own_fails.py fails (own_fails.py, line 1): ValueError: no",
        ),
        ("json.py", "", "there is another module 'json'"),
        ("none.py", None, "--import found no Python file none.py"),
        ("not-a-name.py", "", "'not-a-name' is not a valid module name; rename it"),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, monkeypatch, capsys, name, text, message):
    from vidweave.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if text is not None:
        (tmp_path / name).write_text(text)
    assert run(["list", "--import", name]) == 2
    reply = capsys.readouterr().err
    assert reply.count("\n") == 1
    assert message in reply
