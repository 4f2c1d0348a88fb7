"""Recipes ship with the package, and run by their names or by their paths from any folder."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vidweave.types.recipe import SHIPPED, command_of, find_recipe, load_recipe, recipe_names

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).with_name("vidweave")
NAMES = recipe_names()
PAGES = [
    p
    for folder in (".", "docs", "src", "benchmarks")
    for p in (ROOT / folder).glob("**/*.md" if folder != "." else "*.md")
]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_loads_by_name_and_by_path_from_an_empty_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT])
    module = load_recipe(name)
    assert module.__name__ == "vidweave.recipes." + name.replace("/", ".")  # worker processes import it again
    assert load_recipe(find_recipe(name)) is module


def test_every_file_that_defines_a_recipe_has_a_name():
    defining = set()
    for path in SHIPPED.rglob("*.py"):
        functions = {n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)}
        if "recipe" in functions:
            defining.add(path.relative_to(SHIPPED).with_suffix("").as_posix())
    assert defining == set(NAMES)
    assert {"merv/frozen", "merv/full", "crema/train", "contra4/own", "combination"} <= defining
    assert "merv/start" not in NAMES  # parts of recipes are none


def test_pages_name_recipes_that_exist():
    """Command lines, and what stands as `recipe NAME` in prose."""
    result = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        result |= set(re.findall(r"vidweave train ([a-z]+[\w/]*)(?![\w/.])", text))
        result |= set(re.findall(r"vidweave contra4 generate ([a-z]+[\w/]*)(?![\w/.])", text))
        result |= set(re.findall(r"[Rr]ecipe `([\w/]+)`", text))
    assert len(result) > 8
    assert result - set(NAMES) == set()


def script(folder, *arguments, source=ROOT / "src"):
    """The command line, with nothing but the package on the path."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=110
    )


@pytest.mark.slow
def test_the_command_line_reads_each_recipe(tmp_path):
    """A setting that no recipe has: its settings were read, and one line says so. All from one process, for its imports."""
    harness = (
        "import contextlib, io, json, sys\n"
        "from vidweave.cli.main import run\n"
        "for arguments in json.load(sys.stdin):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        code = run(arguments)\n"
        "    print(json.dumps([code, said.getvalue()]))\n"
    )
    calls = [[*command_of(name).split(), name, "no_such_setting=1"] for name in NAMES]
    calls.append(["train", "crema/train", "dataset=msvd", "start=tiny-crema", "annotations=x.json", "media=."])
    done = subprocess.run(
        [sys.executable, "-c", harness],
        input=json.dumps(calls),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=110,
    )
    reply = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in reply] == [2] * len(calls), done.stderr
    assert [text.count("\n") for _, text in reply] == [1] * len(calls)
    *settings, data_set = (text for _, text in reply)
    assert all(text.startswith("error: unknown field of Settings 'no_such_setting'") for text in settings)
    assert data_set.startswith("error: unknown data set of CREMA 'msvd'")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wheel_holds_the_recipes_and_runs_them(tmp_path):
    """Built, unpacked, and asked from an empty folder: nothing of the repository is needed."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(installed)
    assert {f"vidweave/recipes/{name}.py" for name in NAMES} <= held
    listed = script(empty, "train", "--list", source=installed)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == recipe_names("train"), listed.stderr
    small = ("finetune.steps=1", "finetune.batch_size=2")
    trained = script(empty, "train", "merv/frozen", *small, source=installed)
    assert trained.returncode == 0, trained.stderr
    assert (empty / "runs" / "merv" / "frozen" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_command_line_trains_merv_by_path(tmp_path):
    small = [f"{stage}.{setting}" for stage in ("full_align", "finetune") for setting in ("steps=1", "batch_size=2")]
    done = script(tmp_path, "train", find_recipe("merv/full"), *small, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
