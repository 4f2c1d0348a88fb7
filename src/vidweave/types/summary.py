"""Short `repr`s: shapes, dtypes, units and counts instead of a carrier's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["MAX_CHARACTERS", "Summarized", "describe_array", "shorten"]

MAX_CHARACTERS = 400
_MAX_TEXT = 60
_MAX_ENTRIES = 4


class Summarized:
    """Adds a `repr` of at most `MAX_CHARACTERS` to a dataclass: fields at their default are left out."""

    def __repr__(self) -> str:
        shown = [(f.name, getattr(self, f.name)) for f in fields(self) if not _is_default(self, f)]  # type: ignore[arg-type]
        text = ", ".join(f"{name}={_summary(value)}" for name, value in shown)
        return shorten(f"{type(self).__name__}({text})", MAX_CHARACTERS)


def describe_array(value: Any) -> str:
    """Dtype, shape and (elsewhere than on the CPU) device of an array or tensor, e.g. `float32 (2, 3, 4)`."""
    device = getattr(getattr(value, "device", None), "type", "cpu")
    place = "" if device == "cpu" else f" {value.device}"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}{place}"


def shorten(text: str, length: int = _MAX_TEXT) -> str:
    """Shorten `text` to `length` characters: as much of its start and end as fits."""
    if len(text) <= length:
        return text
    tail = length // 4
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def _is_default(owner: Any, item: Field[Any]) -> bool:
    value = getattr(owner, item.name)
    if item.default is not MISSING:
        return value is item.default or (isinstance(value, (str, int, float, tuple)) and value == item.default)
    return item.default_factory is not MISSING and not value


def _summary(value: Any, depth: int = 0) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return describe_array(value)
    if isinstance(value, (dict, MappingProxyType)):
        return _entries(value, depth)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return _items(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _nested(value)
    if type(value).__repr__ is object.__repr__:
        return type(value).__name__
    return shorten(repr(value))


def _entries(value: Mapping[Any, Any], depth: int) -> str:
    if depth or not value:
        return f"{{{len(value)} entries}}" if value else "{}"
    parts = [f"{shorten(str(key), 20)}: {_summary(item, 1)}" for key, item in list(value.items())[:_MAX_ENTRIES]]
    more = [f"{len(value) - _MAX_ENTRIES} more"] if len(value) > _MAX_ENTRIES else []
    return "{" + ", ".join([*parts, *more]) + "}"


def _items(value: Sequence[Any]) -> str:
    plain = repr(value) if len(value) <= 2 * _MAX_ENTRIES and not any(map(is_dataclass, value)) else ""
    if plain and len(plain) <= _MAX_TEXT:
        return plain
    kinds = ", ".join(dict.fromkeys(type(item).__name__ for item in value[:100]))
    return f"[{len(value)} {shorten(kinds, 30)}]"


def _nested(value: Any) -> str:
    """Summarize a carrier inside another one: its type, and its first array."""
    held = (getattr(value, f.name) for f in fields(value))
    first = next((item for item in held if hasattr(item, "shape")), None)
    return f"{type(value).__name__}({'…' if first is None else describe_array(first)})"
