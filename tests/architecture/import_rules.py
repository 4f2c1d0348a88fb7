"""The import rules of the house, read from syntax trees: which room may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "vidweave"
ZERO = {"types", "errors", "registry", "registration", "storage"}
SLOTS = {"selectors", "encoders", "connectors", "language"}

# Room → rooms that it may import, besides itself. Absent from its own row on purpose: rooms that are equals.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "storage": {"errors"},
    "auto_classes": set(),
    "registration": {"errors"},
    "registry": {"errors", "registration"},
    "types": {"errors", "registry", "registration"},
    "loading": {"errors"},  # what all who load weights share
    "media": ZERO,
    "nn": ZERO,
    **{slot: ZERO | {"nn"} for slot in SLOTS},
    "model": ZERO | {"nn", "media", "loading"} | SLOTS,
    "testing": ZERO,  # contract checks: they know the protocols only
    "derive": ZERO | {"nn", "media", "encoders", "loading"},
    "toyworld": ZERO | {"media"},
    "data": ZERO | {"media", "toyworld"},
    "report": ZERO | {"media"},
    "engines": ZERO | {"nn", "language", "loading"},
    "evaluation": ZERO | {"media", "data", "engines"},
    "training": ZERO | {"media", "data", "evaluation", "nn"},
    "tiny": ZERO | {"media", "data", "toyworld", "training", "nn", "language"},
    "pipelines": ZERO | {"nn", "media", "model", "engines", "loading"} | SLOTS,
    "systems": ZERO | {"nn", "media", "model", "data"} | SLOTS,
    "contra4": ZERO | {"nn", "media", "toyworld", "data", "engines", "evaluation", "language", "report", "loading"},
}
# The doors: they may import anything, and nothing imports them (`vidweave` itself only for its `__version__`).
DOORS = {"", "__main__", "cli", "recipes", "serving"}
OUTSIDE = {"tests", "benchmarks", "examples"}


@dataclass(frozen=True)
class Import:
    """`module` (dotted, below the package) imports `target`, a name in a module or the module itself."""

    module: str
    target: str
    line: int
    is_typing: bool = False  # only under TYPE_CHECKING


def room(module: str) -> str:
    """The room of a dotted module; systems are rooms of their own, since none may import another."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["systems"] else (parts[0] if parts else "")


@cache
def modules(root: Path) -> dict[str, ast.Module]:
    """Dotted name → syntax tree of every file below `root`, the folder of the package."""
    result = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return result


def imports(module: str, tree: ast.Module, *, is_package: bool) -> Iterator[Import]:
    """Every import of a file, those inside functions and `import_module("…")` too."""
    nodes = list(ast.walk(tree))
    typing_only = {id(n) for block in nodes if _is_type_checking(block) for n in ast.walk(block)}
    for node in nodes:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*up, base] if base else up)
            targets = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            argument = node.args[0]
            targets = [argument.value] if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else []
        for target in targets:
            yield Import(module, target, node.lineno, id(node) in typing_only)  # type: ignore[attr-defined]


def violations(root: Path) -> list[str]:
    """One line per import that the table forbids, per package that it does not know, and per cycle of files.

    Imports under TYPE_CHECKING and inside functions count: they hide a cycle from the interpreter, not from a reader.
    """
    trees = modules(root)
    packages = {name for name in trees if (root.parent / name.replace(".", "/")).is_dir()}
    result, graph = [], {name: set() for name in trees}
    for name, tree in trees.items():
        for item in imports(name, tree, is_package=name in packages):
            if reason := _forbidden(item):
                result.append(f"{name}:{item.line} imports {item.target}: {reason}")
            if (target := _file(item.target, trees)) and target != name:
                graph[name].add(target)
    return result + [f"cycle: {' -> '.join(cycle)}" for cycle in _cycles(graph)]


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Cycles of files, each naming the importer before what it imports; one edge of each is cut to find the next."""
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = error.args[1][::-1]
            yield cycle
            graph[cycle[0]].remove(cycle[1])
        else:
            return


def _forbidden(item: Import) -> str:
    here, top = room(item.module), item.target.split(".")[0]
    if top in OUTSIDE:
        return "what stands beside the package is not part of it"
    if top == "torch" and here in ZERO and not item.is_typing:
        return "level 0 imports no torch"
    if top != PACKAGE:
        return ""
    there = room(item.target)
    if here in DOORS or here == there or item.target == f"{PACKAGE}.__version__":
        return ""
    if here.split(".")[0] not in MAY_IMPORT:
        return f"the table knows no room {here!r}; add it"
    if there.startswith("systems.") and here.startswith("systems."):
        return "no system imports another"
    return "" if there in MAY_IMPORT[here.split(".")[0]] else f"{here} may not import {there or 'the front door'}"


def _file(target: str, known: dict[str, ast.Module]) -> str | None:
    return target if target in known else (parent if (parent := target.rpartition(".")[0]) in known else None)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"
