"""Key tables: convert state-dict names between two layouts by pairs of prefixes. Pure functions on mappings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vidweave.errors import CheckpointError

__all__ = ["KeyTable"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class KeyTable:
    """Pairs (theirs, ours) of key prefixes; the first match is used.

    ``{i}`` stands for a number, e.g. ``("blocks.{i}.attn.", "layers.{i}.attention.")``. Keys without a match are errors: a
    table covers its whole layout. `dropped` are patterns of keys of the other layout without a counterpart in ours
    (counters, position indices); they are skipped on conversion to ours.
    """

    pairs: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...] = ()

    def drops(self, key: str) -> bool:
        """Return whether `key` of the other layout has no counterpart in ours."""
        return any(re.fullmatch(pattern, key) for pattern in self.dropped)

    def to_ours(self, state: Mapping[str, Value]) -> dict[str, Value]:
        """Rename a state dict of the other layout to ours.

        Raises:
            CheckpointError: unknown keys, or two keys that map to the same name; the message lists them.
        """
        kept = {key: value for key, value in state.items() if not self.drops(key)}
        return _rename(kept, self.pairs, "the other layout")

    def to_theirs(self, state: Mapping[str, Value]) -> dict[str, Value]:
        """Rename a state dict of ours to the other layout; raises like `to_ours`."""
        return _rename(state, [(ours, theirs) for theirs, ours in self.pairs], "our layout")


def _rename(state: Mapping[str, Value], pairs: Iterable[tuple[str, str]], what: str) -> dict[str, Value]:
    rules = [(re.compile(re.escape(source).replace(r"\{i\}", r"(\d+)")), target) for source, target in pairs]
    renamed: dict[str, Value] = {}
    unknown: list[str] = []
    for key, value in state.items():
        name = _rename_key(key, rules)
        if name is None:
            unknown.append(key)
        elif name in renamed:
            raise CheckpointError(f"two keys of {what} become {name!r}; the second is {key!r}")
        else:
            renamed[name] = value
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} keys of {what} are not in the key table: {', '.join(sorted(unknown)[:8])}"
        )
    return renamed


def _rename_key(key: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, target in rules:
        if match := pattern.match(key):
            numbers = iter(match.groups())
            return re.sub(r"\{i\}", lambda _: next(numbers), target) + key[match.end() :]  # noqa: B023
    return None
