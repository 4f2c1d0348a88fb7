"""Settings from the command line: ``key=value`` texts, checked against a dataclass or a function's parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, make_dataclass, replace
from inspect import Parameter, isclass, signature
from typing import Any, get_args, get_origin, get_type_hints

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types.configuration import config_from_dict

__all__ = ["Setting", "override", "parse_settings", "settings_of", "takes_any_setting"]

_WORDS = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting: its name, its type, and whether it must be given."""

    name: str
    hint: Any
    is_required: bool


def settings_of(target: Any) -> dict[str, Setting]:
    """Return the settings of a dataclass, or of a function or class by its parameters; none for any other object."""
    if isclass(target) and is_dataclass(target):
        hints = get_type_hints(target)
        return {
            f.name: Setting(
                name=f.name, hint=hints[f.name], is_required=f.default is MISSING and f.default_factory is MISSING
            )
            for f in fields(target)
            if f.init
        }
    if not callable(target):
        return {}
    hints = get_type_hints(target.__init__ if isclass(target) else target)
    takes = [p for p in signature(target).parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {
        p.name: Setting(name=p.name, hint=hints.get(p.name, Any), is_required=p.default is Parameter.empty)
        for p in takes
    }


def takes_any_setting(target: Any) -> bool:
    """Whether a function takes settings of any name (``**settings``)."""
    return callable(target) and any(p.kind is p.VAR_KEYWORD for p in signature(target).parameters.values())


def parse_settings(target: Callable[..., Any], texts: Sequence[str], what: str) -> dict[str, Any]:
    """Parse ``key=value`` texts to the settings of `target`, each checked against its type; a later one wins.

    Args:
        target: Dataclass, or function or class with annotated parameters.
        what: Name of the target in messages, e.g. ``"task 'toyworld'"``.

    Raises:
        ConfigError: a text without a key or a sign, or a value of the wrong type.
        UnknownNameError: a key that `target` does not take; lists near matches.
    """
    known, values = settings_of(target), {}
    for key, value in map(_split, texts):
        if key not in known and not takes_any_setting(target):
            raise UnknownNameError(f"setting of {what}", key, known)
        hint = known[key].hint if key in known else Any
        values[key] = _parse(what, key, hint, value)
    return values


def override(settings: Any, overrides: Sequence[str]) -> Any:
    """Return a copy of dataclass `settings` with ``key=value`` texts applied, each checked against the field's type.

    ``optimizer.lr=1e-4`` sets a field of the dataclass in field `optimizer`.
    """
    for key, value in map(_split, overrides):
        settings = _set(settings, key.split("."), value, type(settings).__name__)
    return settings


def _split(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigError(f"{text!r} is not an override; write key=value")
    return key, value


def _set(settings: Any, keys: list[str], value: str, where: str) -> Any:
    known: Mapping[str, Setting] = settings_of(type(settings))
    name, *rest = keys
    if name not in known:
        raise UnknownNameError(f"field of {where}", name, known)
    if rest:
        inner = getattr(settings, name)
        if not is_dataclass(inner):
            raise ConfigError(f"{where}.{name} has no fields; write {name}=value")
        return replace(settings, **{name: _set(inner, rest, value, f"{where}.{name}")})
    return replace(settings, **{name: _parse(type(settings).__name__, name, known[name].hint, value)})


def _parse(owner: str, name: str, hint: Any, text: str) -> Any:
    """Parse `text` to the setting's type: JSON, a list of texts split at commas, or the text itself."""
    try:
        value = text if hint is str else json.loads(_WORDS.get(text, text))
    except ValueError:
        value = text
    if isinstance(value, (str, int, float)) and _is_list_of_texts(hint):
        value = [part.strip() for part in text.split(",") if part.strip()]
    holder = make_dataclass("Settings", [(name, hint)])
    return getattr(config_from_dict(holder, {name: value}, owner), name)


def _is_list_of_texts(hint: Any) -> bool:
    """Whether the type is a list: ``tuple[str, ...]``, perhaps with ``| None``."""
    arms = [arm for arm in get_args(hint) if arm is not type(None)] if get_origin(hint) not in (tuple, list) else [hint]
    return bool(arms) and all(get_origin(arm) in (tuple, list, Sequence) for arm in arms)
