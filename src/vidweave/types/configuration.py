"""Frozen dataclass configurations with a `kind`: built by Python functions, saved as JSON, read back strictly."""

from __future__ import annotations

import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from vidweave.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from vidweave.registry import Registry

__all__ = ["MAX_LAYERS", "ComponentConfig", "check_layers", "component_from_dict", "config_from_dict", "config_to_dict"]

# Far above any real model: a malicious file could name a number of layers that exhausts memory.
MAX_LAYERS = 1_000


@dataclass(frozen=True, kw_only=True)
class ComponentConfig:
    """Base class of every component's configuration.

    A subclass sets its `kind` (its key in a registry), declares its fields with plain JSON types or nested dataclasses,
    checks them in `__post_init__`, and creates the module in `build()`.
    """

    kind: ClassVar[str]

    def build(self) -> Any:
        """Create the module with fresh weights (on the meta device under ``torch.device("meta")``)."""
        raise NotImplementedError(f"{type(self).__name__} has no build()")

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON data; `component_from_dict` is the inverse."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from the data of `to_dict`; unknown or ill-typed fields raise ConfigError."""
        return config_from_dict(cls, data)


def config_to_dict(value: Any) -> Any:
    """Convert a (nested) dataclass to JSON data; a `kind` class variable becomes a key."""
    if is_dataclass(value) and not isinstance(value, type):
        data = {f.name: config_to_dict(getattr(value, f.name)) for f in fields(value)}
        kind = getattr(type(value), "kind", None)
        return {"kind": kind, **data} if isinstance(kind, str) else data
    if isinstance(value, dict):
        return {key: config_to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [config_to_dict(item) for item in value]
    return value


def component_from_dict(registry: Registry, data: Any) -> Any:
    """Build a component's configuration by its `kind` in `registry`. A configuration is returned unchanged."""
    if is_dataclass(data) and not isinstance(data, type):
        return data
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise ConfigError(f"a {registry.what} configuration needs a 'kind', got {data!r}; known: {', '.join(registry)}")
    return config_from_dict(registry.get(data["kind"]), data)


def check_layers(data: Any, where: str) -> None:
    """Raise ConfigError if a key of (nested) JSON data that counts layers is above MAX_LAYERS."""
    if isinstance(data, list):
        for item in data:
            check_layers(item, where)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if str(key).endswith(("layers", "n_layer")) and isinstance(value, int) and value > MAX_LAYERS:
            raise ConfigError(f"{where} has {key}={value:,}; at most {MAX_LAYERS:,} are allowed")
        check_layers(value, where)


def config_from_dict(cls: type, data: dict[str, Any], where: str = "") -> Any:
    """Build dataclass `cls` from JSON data, strictly.

    Raises:
        UnknownNameError: a key that is not a field.
        ConfigError: a missing field, or a value of the wrong type; the message names the path.
    """
    where = where or cls.__name__
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must be a mapping, got {data!r}")
    data = dict(data)
    kind = getattr(cls, "kind", None)
    if isinstance(kind, str) and data.pop("kind", kind) != kind:
        raise ConfigError(f"{where} is of kind {kind!r}, not {data!r}")
    hints = get_type_hints(cls, include_extras=True)
    known = {f.name: f for f in fields(cls) if f.init}
    for key in data:
        if key not in known:
            raise UnknownNameError(f"field of {where}", key, known)
    missing = [n for n, f in known.items() if n not in data and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    return cls(**{key: _convert(hints[key], item, f"{where}.{key}") for key, item in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` (JSON data) to the type `hint`; raise ConfigError if that is impossible."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:  # for a component: the registry of its kinds
        return component_from_dict(args[1], value)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        choices = [a for a in args if a is not type(None)]
        kinds = {getattr(a, "kind", None): a for a in choices}
        if isinstance(value, dict) and isinstance(value.get("kind"), str) and value["kind"] in kinds:
            return _convert(kinds[value["kind"]], value, where)
        for choice in choices:
            try:
                return _convert(choice, value, where)
            except ConfigError:
                if len(choices) == 1:
                    raise
        raise ConfigError(f"{where} must be {_spell(hint)}, got {value!r}")
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} must be one of {', '.join(map(repr, args))}, got {value!r}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        if origin is tuple and args and args[-1] is not Ellipsis:
            if len(value) != len(args):
                raise ConfigError(f"{where} must have {len(args)} values, got {len(value)}")
            return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
        return origin(_convert(args[0] if args else Any, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, got {value!r}")
        return {k: _convert(args[1] if args else Any, v, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(hint):
        return value if isinstance(value, hint) else config_from_dict(hint, value, where)  # type: ignore[arg-type]
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        raise ConfigError(f"{where} must be {_spell(hint)}, got {value!r}")
    return value


def _spell(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
