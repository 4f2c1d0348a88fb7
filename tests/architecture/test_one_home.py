"""What has one home in the library: the place where prompt and visual tokens meet."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from import_rules import modules

SOURCE = Path(__file__).parents[2] / "src" / "vidweave"
# Call → the only modules that make it; everything else goes through `Processor` and `VideoLanguageModel.read`.
HOMES = {
    "splice": {"vidweave.model.assembly"},
    "layout.plan": {"vidweave.model.processor"},
    "layout.target_tokens": {"vidweave.model.processor"},
}


def _calls(tree: ast.Module) -> set[str]:
    """Calls of a module as far as HOMES names them: a function by its name, a method with the object before it."""
    result = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            result.add(node.func.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owners = ast.unparse(node.func.value).replace("(", " ").replace(")", " ").replace(".", " ").split()
            result |= {node.func.attr, *(f"{owner}.{node.func.attr}" for owner in owners)}
    return result


@pytest.mark.parametrize("call", HOMES)
def test_prompt_and_tokens_meet_in_one_place(call):
    assert {name for name, tree in modules(SOURCE).items() if call in _calls(tree)} == HOMES[call]


def _asked_by_name(tree: ast.Module) -> list[int]:
    """Lines that fetch an attribute by a word (`getattr(x, "word")`, `hasattr`), where a protocol would be typed."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    named = [c for c in calls if c.func.id in ("getattr", "hasattr") and isinstance(c.args[1], ast.Constant)]  # type: ignore[attr-defined]
    return [call.lineno for call in named]


@pytest.mark.parametrize("package", ["connectors", "selectors", "testing"])
def test_parts_are_asked_what_they_can_do_by_protocols(package):
    trees = {name: tree for name, tree in modules(SOURCE).items() if name.startswith(f"vidweave.{package}")}
    assert {name: lines for name, tree in trees.items() if (lines := _asked_by_name(tree))} == {}


def test_the_check_can_fail():
    assert _asked_by_name(ast.parse("getattr(trunk, 'time', 1)\nhasattr(trunk, 'time')\ngetattr(self, name)")) == [1, 2]
    text = "layout.plan(a)\nmodel.spec.layout.target_tokens(b)\n(layout or own.layout).plan(c)\nsplice(d)"
    assert set(HOMES) <= _calls(ast.parse(text))
    assert not set(HOMES) & _calls(ast.parse("model.processor.plan(a)\nmodel.read(b)"))
