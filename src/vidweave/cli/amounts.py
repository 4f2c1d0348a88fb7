"""Parse and format sizes, counts and times: ``2GB``, ``3.9 G``, ``5s``."""

from __future__ import annotations

import re

from vidweave.errors import ConfigError

__all__ = ["format_bytes", "format_count", "parse_bytes", "parse_seconds"]

# Both spellings of every unit: 2GB and 2G are 2 * 10**9, 2GiB is 2 * 2**30
_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}{end}": 1000**n for n, letter in enumerate("kmgt", 1) for end in ("", "b")},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", 1)},
}

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_BY_UNIT = re.compile(r"(?=.)" + "".join(rf"(?:{_NUMBER}\s*{unit})?\s*" for unit in ("d", "h", "m", "s?")), re.ASCII)
_BY_COLON = re.compile(r"(?:(\d+):)?(\d+):([0-5]?\d(?:\.\d*)?)", re.ASCII)


def parse_bytes(text: str) -> int:
    """Parse ``500``, ``2GB`` or ``1.5GiB`` to bytes; raises ConfigError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in _BYTES:
        raise ConfigError(f"{text!r} is not a size; write it like 500MB, 2GB or 1.5GiB")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_seconds(text: str) -> float:
    """Parse ``90``, ``5s``, ``1.5m``, ``1h30m``, ``30d``, ``1:30`` or ``0:01:30.5`` to seconds; raises ConfigError."""
    plain = text.strip().lower()
    if match := _BY_UNIT.fullmatch(plain):
        return sum(float(n) * unit for n, unit in zip(match.groups(), (86_400, 3_600, 60, 1), strict=True) if n)
    if match := _BY_COLON.fullmatch(plain):
        hours, minutes, seconds = (float(n or 0) for n in match.groups())
        if match[1] is None or minutes < 60:
            return hours * 3_600 + minutes * 60 + seconds
    raise ConfigError(f"{text!r} is not a time; write it like 90, 5s, 1.5m, 1h30m, 1:30 or 0:01:30")


def format_bytes(count: float) -> str:
    """Format a number of bytes, e.g. ``3.2 GB``."""
    return _format(count, ("B", "kB", "MB", "GB", "TB"))


def format_count(count: float | None, unit: str = "") -> str:
    """Format a count, e.g. ``3.2 G``; None becomes ``-``."""
    return "-" if count is None else _format(count, ("", "k", "M", "G", "T", "P"), unit)


def _format(count: float, steps: tuple[str, ...], unit: str = "") -> str:
    step = 0
    while abs(count) >= 999.5 and step < len(steps) - 1:
        count, step = count / 1000, step + 1
    number = f"{count:.0f}" if step == 0 or count >= 99.95 else f"{count:.1f}"
    return f"{number} {steps[step]}{unit}".rstrip()
