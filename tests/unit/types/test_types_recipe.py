"""Recipes by name and by path."""

from pathlib import Path

import pytest

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types.recipe import command_of, find_recipe, load_recipe, recipe_names, run_folder

OWN = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Settings:\n    x: int = 1\ndef recipe(x):\n    return x\n"


def test_each_command_has_its_recipes():
    trains, generates = recipe_names("train"), recipe_names("contra4 generate")
    assert sorted([*trains, *generates]) == recipe_names()
    assert {"merv/frozen", "tiny/base"} <= set(trains)
    assert {"contra4/own", "contra4/toy"} <= set(generates)
    assert {command_of(name) for name in generates} == {"contra4 generate"}


def test_a_recipe_of_another_command_is_refused():
    assert find_recipe("contra4/toy", "contra4 generate").is_file()
    with pytest.raises(ConfigError, match=r"run: vidweave contra4 generate contra4/toy$"):
        find_recipe("contra4/toy", "train")
    with pytest.raises(ConfigError, match=r"run: vidweave train merv/full$"):
        find_recipe("merv/full", "contra4 generate")


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'merv/frosen'; did you mean 'merv/frozen'"):
        find_recipe("merv/frosen")
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'zzz'; known: combination, crema/train, .*\.py\)$"):
        find_recipe("zzz", "train")


def test_a_path_that_is_gone_names_the_shipped_recipe():
    with pytest.raises(ConfigError, match=r"no recipe file recipes/merv/full\.py; .* such as merv/full$"):
        find_recipe("recipes/merv/full.py")
    with pytest.raises(ConfigError, match=r"no recipe file gone\.py; .* such as tiny/base$"):
        find_recipe(Path("gone.py"))


def test_a_file_of_ones_own_comes_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    assert load_recipe("own.py").Settings().x == 1
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "base").write_text("no recipe")  # what lies about here does not hide a name
    assert find_recipe("tiny/base").name == "base.py"


def test_runs_of_different_recipes_go_to_different_folders():
    folders = {run_folder(name) for name in recipe_names()}
    assert len(folders) == len(recipe_names())
    assert run_folder("crema/train") == Path("runs/crema/train")
    assert run_folder("some/where/own.py") == Path("runs/own")
