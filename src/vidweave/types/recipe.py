"""Recipes: Python files that define `Settings` (a frozen dataclass) and ``recipe(**overrides)``: find, import and override them.

A recipe is given by its path, or, where it ships with the package, by its name: ``merv/frozen`` is the file
``vidweave/recipes/merv/frozen.py``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types.overrides import override

__all__ = [
    "command_of",
    "find_recipe",
    "load_recipe",
    "read_recipe",
    "recipe_names",
    "run_folder",
]

SHIPPED = Path(__file__).parents[1] / "recipes"
_PACKAGE = __name__.split(".")[0] + ".recipes"
_IS_RECIPE = re.compile(r"^def recipe\(", re.MULTILINE)  # the other files there hold parts of recipes


def recipe_names(command: str = "") -> list[str]:
    """Names of the shipped recipes, or of those that `command` runs (`train`, `contra4 generate`)."""
    files = (file for file in SHIPPED.rglob("*.py") if _IS_RECIPE.search(file.read_text(encoding="utf-8")))
    names = sorted(file.relative_to(SHIPPED).with_suffix("").as_posix() for file in files)
    return [name for name in names if command in ("", command_of(name))]


def command_of(name: str) -> str:
    """Return the command of `vidweave` that runs a shipped recipe."""
    return "contra4 generate" if name.startswith("contra4/") else "train"


def run_folder(recipe: str | Path) -> Path:
    """Default output folder of a run: `runs/merv/frozen` by a name, `runs/own` by the path `x/own.py`."""
    return Path("runs") / (recipe if str(recipe) in recipe_names() else Path(recipe).stem)


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Load the function of a recipe, and its settings with ``key=value`` overrides (``optimizer.lr=1e-4`` is nested).

    Raises:
        ConfigError: no such file, no recipe in it, or a value of the wrong type.
        UnknownNameError: a name that no shipped recipe has, or an override that `Settings` does not have; lists near
            matches.
    """
    module = load_recipe(recipe)
    settings = override(module.Settings(), overrides)
    return module.recipe, {f.name: getattr(settings, f.name) for f in fields(settings)}


def find_recipe(recipe: str | Path, command: str = "") -> Path:
    """Find the file of a recipe by name or path.

    Args:
        command: Refuse shipped recipes of another command of `vidweave`.

    Raises:
        ConfigError: no such file, a file that is not a Python file, or a recipe of another command.
        UnknownNameError: a name that no shipped recipe has; lists near matches.
    """
    name, names = str(recipe), recipe_names()
    if name in names:
        if command not in ("", command_of(name)):
            raise ConfigError(f"{name} is a recipe of another command; run: vidweave {command_of(name)} {name}")
        return SHIPPED / f"{name}.py"
    path = Path(recipe)
    if path.is_file():
        if path.suffix != ".py":
            raise ConfigError(f"{path} is not a Python file; a recipe ends in .py")
        return path
    if path.suffix == ".py":
        raise ConfigError(
            f"there is no recipe file {path}; give the path of a Python file, or the name of a shipped recipe such as "
            f"{_shipped_name(path, names)}"
        )
    raise UnknownNameError("recipe", name, recipe_names(command), "(a path ends in .py)")


def _shipped_name(path: Path, names: Sequence[str]) -> str:
    """Return the shipped recipe whose file has the longest common suffix with `path`, as a hint."""
    ends = ["/".join(path.with_suffix("").parts[start:]) for start in range(len(path.parts))]
    return next((end for end in ends if end in names), "tiny/base")


def load_recipe(recipe: str | Path) -> ModuleType:
    """Import a recipe by name or path; raise ConfigError for other files. Shipped ones belong to the package."""
    path = find_recipe(recipe)
    module = _import_shipped(path) if path.resolve().is_relative_to(SHIPPED.resolve()) else _import_file(path)
    settings = getattr(module, "Settings", None)
    if not callable(getattr(module, "recipe", None)) or not (isinstance(settings, type) and is_dataclass(settings)):
        raise ConfigError(f"{path} must define recipe(**overrides) and a frozen dataclass Settings")
    return module


def _import_shipped(path: Path) -> ModuleType:
    parts = path.resolve().relative_to(SHIPPED.resolve()).with_suffix("").parts
    return import_module(".".join((_PACKAGE, *parts)))


def _import_file(path: Path) -> ModuleType:
    name = f"vidweave_recipe_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file; a recipe ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses require their module here
    spec.loader.exec_module(module)
    return module
