"""Recipe files: Python that defines `Settings` (a frozen dataclass) and ``recipe(**overrides)``, read and overridden."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, make_dataclass, replace
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types.configuration import config_from_dict

__all__ = ["find_recipe", "load_recipe", "override", "read_recipe"]


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of a recipe file, and its settings with ``key=value`` overrides (``optimizer.lr=1e-4`` reaches inside).

    Raises:
        ConfigError: no such file, no recipe in it, or a value of the wrong type.
        UnknownNameError: an override that `Settings` does not have; lists near matches.
    """
    module = load_recipe(path)
    settings = override(module.Settings(), overrides)
    return module.recipe, {f.name: getattr(settings, f.name) for f in fields(settings)}


def find_recipe(path: str | Path) -> Path:
    """The path of a file that may be a recipe; ConfigError if there is none or it is no Python file."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"there is no recipe file {path}; give the path of a Python file such as recipes/tiny/base.py"
        )
    if path.suffix != ".py":
        raise ConfigError(f"{path} is no Python file; a recipe ends in .py")
    return path


def load_recipe(path: str | Path) -> ModuleType:
    """Import a recipe file; ConfigError if it is none."""
    path = find_recipe(path)
    name = f"vidweave_recipe_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; a recipe ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    settings = getattr(module, "Settings", None)
    if not callable(getattr(module, "recipe", None)) or not (isinstance(settings, type) and is_dataclass(settings)):
        raise ConfigError(f"{path} must define recipe(**overrides) and a frozen dataclass Settings")
    return module


def override(settings: Any, overrides: Sequence[str]) -> Any:
    """A copy of dataclass `settings` with ``key=value`` texts applied, each checked against the field's type."""
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ConfigError(f"{text!r} is no override; write key=value")
        settings = _set(settings, key.split("."), value, type(settings).__name__)
    return settings


def _set(settings: Any, keys: list[str], value: str, where: str) -> Any:
    hints = get_type_hints(type(settings))
    name, *rest = keys
    if name not in hints or name not in {f.name for f in fields(settings)}:
        raise UnknownNameError(f"field of {where}", name, [f.name for f in fields(settings)])
    if rest:
        inner = getattr(settings, name)
        if not is_dataclass(inner):
            raise ConfigError(f"{where}.{name} has no fields; write {name}=value")
        return replace(settings, **{name: _set(inner, rest, value, f"{where}.{name}")})
    return replace(settings, **{name: _parse(type(settings), name, hints[name], value)})


def _parse(owner: type, name: str, hint: Any, text: str) -> Any:
    """`text` as the field's type: JSON, or the text itself where a text is meant."""
    try:
        value = text if hint is str else json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        value = text
    return getattr(config_from_dict(make_dataclass(owner.__name__, [(name, hint)]), {name: value}), name)
