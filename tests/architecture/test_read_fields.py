"""No parsed value without a reader: what a dataclass holds is read somewhere, or it promises what nothing keeps."""

from __future__ import annotations

import ast
from pathlib import Path

from import_rules import modules

ROOT = Path(__file__).parents[2]
# Results that the library counts and its users read
FOR_USERS = {"num_pending", "only_first", "only_second"}


def _trees(*folders: str) -> list[ast.Module]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]


def _fields(trees: list[ast.Module]) -> dict[str, str]:
    """Field → a dataclass that has it."""
    result = {}
    for node in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            made = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            result |= {part.target.id: node.name for part in made if "ClassVar" not in ast.unparse(part.annotation)}
    return result


def _named(trees: list[ast.Module]) -> set[str]:
    """Attributes that are read, words that could name one (`getattr`, tables), and what a recipe takes of its settings."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    reads = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    recipes = [node.args for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "recipe"]
    reads |= {arg.arg for args in recipes for arg in (*args.args, *args.kwonlyargs)}
    return reads | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_field_of_the_library_has_a_reader():
    ours = list(modules(ROOT / "src" / "vidweave").values())
    unread = _fields(ours).keys() - _named(ours + _trees("benchmarks")) - FOR_USERS
    assert not unread, {name: _fields(ours)[name] for name in unread}
