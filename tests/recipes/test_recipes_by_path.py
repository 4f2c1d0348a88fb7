"""Recipes run by their path from any folder: nothing of them is imported by where one stands."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidweave.types.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.py"))
SCRIPT = Path(sys.executable).with_name("vidweave")


def name(path):
    return str(path.relative_to(ROOT / "recipes"))


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_loads_from_an_empty_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT])
    load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_no_recipe_imports_what_stands_beside_the_package(path):
    """Inside functions neither, which loading does not reach."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(n) for b in ast.walk(tree) if isinstance(b, ast.If) for n in ast.walk(ast.Module(b.body, []))}
    for node in ast.walk(tree):
        if id(node) not in for_types and isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
            assert not [n for n in names if n.split(".")[0] in ("recipes", "tests", "benchmarks", "examples", "")]


def script(folder, *arguments):
    """The installed console script, with nothing but the package on the path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=110
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_the_installed_script_reads_each_recipe(path, tmp_path):
    """A setting that no recipe has: its settings were read, and one line says so."""
    command = ["contra4", "generate"] if path.parent.name == "contra4" else ["train"]
    done = script(tmp_path, *command, path, "no_such_setting=1", "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown field of Settings 'no_such_setting'")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["frozen", "full"])
def test_the_installed_script_trains_merv(recipe, tmp_path):
    stages = ("finetune",) if recipe == "frozen" else ("full_align", "finetune")
    small = [f"{stage}.{setting}" for stage in stages for setting in ("steps=1", "batch_size=2")]
    done = script(tmp_path, "train", ROOT / "recipes" / "merv" / f"{recipe}.py", *small, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_data_set_that_crema_does_not_know_is_one_line(tmp_path):
    words = ["dataset=msvd", "start=tiny-crema", "annotations=x.json", "media=."]
    done = script(tmp_path, "train", ROOT / "recipes" / "crema" / "train.py", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown data set of CREMA 'msvd'")
