"""Errors in a user's recipe or module: one line that names file, line and exception."""

from __future__ import annotations

import runpy
import sys
import traceback

import pytest

from vidweave.cli.user_code import place_in_user_code

SETTINGS = """
from dataclasses import dataclass, replace

@dataclass(frozen=True, kw_only=True)
class Settings:
    count: int = 0
"""
RECIPES = {
    "while it is imported": ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError: No module named 'nothing"),
    "in its syntax": ("x = 1\ndef recipe(:\n", "line 2: SyntaxError: invalid syntax"),
    "in recipe()": (
        f"{SETTINGS}\ndef recipe(count):\n    return 1 / count\n",
        "line 9: ZeroDivisionError: division by zero",
    ),
    "in what recipe() calls": (
        f"{SETTINGS}\ndef recipe(count):\n    return replace(Settings(), cuont=1)\n",
        "line 9: TypeError: Settings.__init__() got an unexpected keyword argument 'cuont'",
    ),
    "in its Settings": (
        f"{SETTINGS}\n    def __post_init__(self):\n        raise KeyError('count')\n\ndef recipe(count): ...\n",
        "line 9: KeyError: 'count'",
    ),
}


@pytest.mark.parametrize("command", [["train"], ["contra4", "generate"]], ids=" ".join)
@pytest.mark.parametrize("where", RECIPES)
def test_an_error_in_a_recipe_names_its_line(vid, tmp_path, monkeypatch, where, command):
    monkeypatch.chdir(tmp_path)
    text, message = RECIPES[where]
    (tmp_path / "own_recipe.py").write_text(text)
    done = vid(*command, "own_recipe.py", "--out", tmp_path / "run", "--json")
    assert done.code == 2
    assert done.err.startswith(f"error: own_recipe.py, {message}")
    assert done.err.endswith("; --debug shows the traceback\n")
    assert done.err.count("\n") == 1
    assert done.err == f"error: {done.data['error']['message']}\n"
    assert "Traceback" in vid("--debug", *command, "own_recipe.py").err


def test_a_missing_file_of_a_recipe_names_the_line_that_opens_it(vid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_recipe.py").write_text(f"{SETTINGS}\ndef recipe(count):\n    open('labels.json')\n")
    done = vid("train", "own_recipe.py")
    message = "error: 'labels.json' cannot be used: No such file or directory (own_recipe.py, line 9)\n"
    assert (done.code, done.err) == (2, message)


def test_an_error_in_an_imported_module_names_its_line(vid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_helper_of_mine.py").write_text("\n\ndef half(x):\n    return x / 0\n")
    (tmp_path / "own_module_of_mine.py").write_text("from own_helper_of_mine import half\nhalf(3)\n")
    done = vid("list", "--import", "own_module_of_mine.py")
    message = (
        "--import own_module_of_mine.py fails (own_helper_of_mine.py, line 4): ZeroDivisionError: division by zero"
    )
    assert (done.code, done.err) == (2, f"error: {message}\n")


def test_an_error_of_a_data_worker_carries_its_place_as_text(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def collate(items):\n    return items[9]\n")
    collate = runpy.run_path(str(own))["collate"]
    with pytest.raises(IndexError) as caught:
        collate([1])
    text = "".join(traceback.format_exception(caught.value))
    moved = IndexError(f"Caught IndexError in DataLoader worker process 0.\nOriginal {text}")
    assert place_in_user_code(moved) == f"{own}, line 2"


def test_errors_of_the_library_and_of_others_have_no_place():
    import json

    with pytest.raises(ValueError, match="Expecting property name") as caught:
        json.loads("{")
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert place_in_user_code(caught.value) == ""
    assert place_in_user_code(SyntaxError("bad", ("<string>", 1, 1, "x"))) == ""
    assert place_in_user_code(RuntimeError("never raised")) == ""
