"""Content keys: names derived from everything a stored entry was computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any

from vidweave.errors import StoreError

__all__ = ["canonical_json", "store_key"]


def store_key(**parts: Any) -> str:
    """Return one key for everything that determines the features: content hash, plan, preprocessing, pooling, encoder.

    Args:
        parts: JSON data, dataclasses, tuples or paths, by name; the order of names does not matter.

    Returns:
        64 hexadecimal digits (SHA-256 of the canonical JSON).

    Raises:
        StoreError: no parts, or a part without an exact JSON form (a tensor, a NaN, a set).
    """
    if not parts:
        raise StoreError("a store key needs at least one part, e.g. store_key(content=..., encoder=...)")
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, no NaN; tuples are lists, dataclasses are mappings."""
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreError(f"only plain JSON data can name or describe a stored entry: {error}") from error


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        # The class is part of the key: two specs with equal fields may behave differently
        return {"type": type(value).__name__, **_plain(asdict(value))}
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"keys must be text, got {odd[0]!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value
