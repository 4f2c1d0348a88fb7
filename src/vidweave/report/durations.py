"""Human-readable durations."""

from __future__ import annotations

import math

__all__ = ["format_seconds"]

# Threshold in seconds for two units: the larger, the smaller, and the number of smaller ones per larger one.
_STEPS = ((86_400, "d", "h", 24), (3_600, "h", "min", 60), (60, "min", "s", 60))


def format_seconds(seconds: float, *, has_parts: bool = True) -> str:
    """Format a duration, e.g. ``850 µs``, ``12.3 ms``, ``4.5 s``, ``1 min 11 s``, ``2 h 5 min``, ``3 d 4 h``.

    Args:
        has_parts: Use µs and ms below one second; otherwise decimals of a second (for axes).
    """
    if not math.isfinite(seconds):
        return "-"
    if seconds < 0:
        return f"-{format_seconds(-seconds, has_parts=has_parts)}"
    if has_parts and 0 < seconds < 0.9995:
        return f"{_digits(seconds * 1e6)} µs" if seconds < 0.9995e-3 else f"{_digits(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{_digits(seconds)} s"
    for size, large, small, parts in _STEPS:
        count = round(seconds * parts / size)
        if count >= parts:
            rest = count % parts
            return f"{count // parts} {large}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(f"{seconds} s has no unit")


def _digits(value: float) -> str:
    """Format three significant digits, without an exponent or trailing zeros."""
    places = max(0, 2 - math.floor(math.log10(value))) if value else 0
    text = f"{value:.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
