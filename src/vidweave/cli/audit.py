"""Summary lines about each modality: tokens, gates and shares, and missing modalities."""

from __future__ import annotations

from typing import Any

__all__ = ["audit_lines"]


def audit_lines(trace: Any) -> list[str]:
    """Format the modalities of a trace as lines; empty for a model with a single modality."""
    if trace is None or not {"gates", "absent"} & {key for key, value in trace.panels.items() if value}:
        return []
    tokens = ", ".join(f"{name} {count}" for name, count in trace.tokens.items())
    lines = [f"tokens: {tokens}"]
    for entry in trace.panels.get("gates") or []:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in entry["share"].items())
        lines.append(f"gate: {entry['gate']:.2f} open, to {shares}")
    absent = trace.panels.get("absent")
    if absent:
        lines.append(f"not given: {', '.join(absent)}")
    return lines
