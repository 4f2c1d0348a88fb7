"""The list of shipped recipes that `--list` prints."""

from __future__ import annotations

import ast

from vidweave.cli.output import show, table
from vidweave.types.recipe import find_recipe, recipe_names

__all__ = ["show_recipes"]


def show_recipes(command: str, *, as_json: bool) -> None:
    """Print names and summaries of the shipped recipes that `command` runs."""
    rows = [{"name": name, "summary": _summary(name)} for name in recipe_names(command)]
    show({"recipes": rows}, table([(r["name"], r["summary"]) for r in rows], ("recipe", "summary")), as_json=as_json)


def _summary(name: str) -> str:
    """The first sentence of the recipe's docstring; the recipe is not imported."""
    text = ast.get_docstring(ast.parse(find_recipe(name).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
