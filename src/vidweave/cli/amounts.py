"""Sizes, counts and times as people write them: ``2GB``, ``3.9 G``, ``5s``."""

from __future__ import annotations

import re

from vidweave.errors import ConfigError

__all__ = ["format_bytes", "format_count", "parse_bytes", "parse_seconds"]

# Both spellings of every step: 2GB and 2G are 2 * 10**9, 2GiB is 2 * 2**30
_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}{end}": 1000**n for n, letter in enumerate("kmgt", 1) for end in ("", "b")},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", 1)},
}


def parse_bytes(text: str) -> int:
    """``500``, ``2GB``, ``1.5GiB`` → bytes; raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _BYTES:
        raise ConfigError(f"{text!r} is no size; write it like 500MB, 2GB or 1.5GiB")
    return int(float(found[1]) * _BYTES[found[2]])


def parse_seconds(text: str) -> float:
    """``5``, ``5s``, ``1.5m``, ``2h`` → seconds; raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h|)\s*", text.lower())
    if found is None:
        raise ConfigError(f"{text!r} is no time; write it like 5s, 1.5m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def format_bytes(count: float) -> str:
    """E.g. ``3.2 GB``."""
    return _format(count, ("B", "kB", "MB", "GB", "TB"))


def format_count(count: float | None, unit: str = "") -> str:
    """E.g. ``3.2 G``; None is ``-``."""
    return "-" if count is None else _format(count, ("", "k", "M", "G", "T", "P"), unit)


def _format(count: float, steps: tuple[str, ...], unit: str = "") -> str:
    step = 0
    while abs(count) >= 999.5 and step < len(steps) - 1:
        count, step = count / 1000, step + 1
    number = f"{count:.0f}" if step == 0 or count >= 99.95 else f"{count:.1f}"
    return f"{number} {steps[step]}{unit}".rstrip()
