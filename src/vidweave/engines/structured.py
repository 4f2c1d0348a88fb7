"""Texts that must be JSON of a given schema: describe the schema in a prompt, and validate a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["complaint", "in_words"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def in_words(schema: Mapping[str, Any]) -> str:
    """Return the sentence that asks the model for JSON, for servers that cannot enforce a schema."""
    return f"Answer with one JSON value and nothing else. It must follow this JSON schema: {json.dumps(schema)}"


def complaint(text: str, schema: Mapping[str, Any]) -> str:
    """Return in one line why `text` violates `schema`; empty if it is valid.

    Supported JSON schema keywords: `type`, `enum`, `properties`, `required`, `additionalProperties: false`, `items`.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error}): {text[:60]!r}"
    return _mismatch(value, schema, "the value")


def _mismatch(value: Any, schema: Mapping[str, Any], where: str) -> str:
    expected = schema.get("type")
    kinds = [expected] if isinstance(expected, str) else list(expected or ())
    if kinds and not any(_is_a(value, kind) for kind in kinds):
        return f"{where} must be {' or '.join(kinds)}, got {value!r:.60}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} must be one of {schema['enum']}, got {value!r:.60}"
    if isinstance(value, dict):
        return _object_mismatch(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        return next((m for i, v in enumerate(value) if (m := _mismatch(v, schema["items"], f"{where}[{i}]"))), "")
    return ""


def _object_mismatch(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str:
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"{where} lacks {', '.join(map(repr, missing))}"
    strange = [name for name in value if name not in properties]
    if strange and schema.get("additionalProperties") is False:
        return f"{where} may not have {', '.join(map(repr, strange))}"
    known = ((name, value[name]) for name in properties if name in value)
    return next((m for name, v in known if (m := _mismatch(v, properties[name], f"{where}.{name}"))), "")


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):  # a bool is an int in Python, but not a number in JSON
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, (object,)))
