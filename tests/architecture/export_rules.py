"""What a module may say about itself: a true `__all__`, and no work when it is imported."""

from __future__ import annotations

import ast
from pathlib import Path

from import_rules import imports, modules, room


def complaints(path: Path) -> list[str]:
    """One line per untrue export and per statement that does work at import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [*_exports(tree), *_work(tree)]


def borrowed(root: Path) -> list[str]:
    """One line per name that a room takes from another room's module, which does not export it."""
    trees = modules(root)
    result = []
    for name, tree in trees.items():
        for item in imports(name, tree, is_package=(root.parent / name.replace(".", "/")).is_dir()):
            source, _, taken = item.target.rpartition(".")
            if source in trees and item.target not in trees and room(source) != room(name):
                exported = exports(trees[source])
                if exported is not None and taken not in exported:
                    result.append(f"{name}:{item.line} takes {taken} from {source}, which does not export it")
    return result


def _exports(tree: ast.Module) -> list[str]:
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    exported = exports(tree)
    if exported is None:
        return ["has public names but no __all__"] if any(not name.startswith("_") for name in defined) else []
    result = [f"__all__ lists {name} twice" for name in sorted({n for n in exported if exported.count(n) > 1})]
    return result + [
        f"__all__ names {name}, which the module does not have" for name in sorted({*exported} - _bound(tree))
    ]


def exports(tree: ast.Module) -> list[str] | None:
    """`__all__` of a module, None if it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def _bound(tree: ast.Module) -> set[str]:
    """Names that the module binds at its top level; lazy ones stand in a dict called `_LAZY`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            if isinstance(target, ast.Name) and target.id == "_LAZY" and isinstance(node.value, ast.Dict):
                names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return names


_DECLARATIONS = (
    ast.Assert,  # disjoint by assertion: cheap facts about constants
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)
_WORKING_CALLS = {
    "open",
    "print",
    "run",
    "mkdir",
    "download",
    "seed",
    "manual_seed",
    "set_num_threads",
    "read_text",
    "basicConfig",
}


def _work(tree: ast.Module) -> list[str]:
    result = []
    for node in tree.body:
        if isinstance(node, ast.Expr):
            ok = isinstance(node.value, ast.Constant) or _is_registration(node.value)
        elif isinstance(node, ast.For):
            ok = all(isinstance(n, ast.Expr) and _is_registration(n.value) for n in node.body)
        elif isinstance(node, ast.If):
            test = ast.dump(node.test)
            ok = "TYPE_CHECKING" in test or "__main__" in test or "version_info" in test
        else:
            ok = isinstance(node, _DECLARATIONS)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            ok = ok and not _touches_the_world(node)
        if not ok:
            result.append(f"line {node.lineno} does work at import")
    return result


def _is_registration(node: ast.expr) -> bool:
    """``REGISTRY.register(…)``, ``app.add_typer(…)``, ``app.command(…)(verb)``."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Call):
        node = node.func
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("register", "add_typer", "command")


def _touches_the_world(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if any("environ" in ast.dump(target) for target in targets):
        return True
    called = (n.func for n in ast.walk(node) if isinstance(n, ast.Call))
    return any((f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")) in _WORKING_CALLS for f in called)
