"""Panels of modalities: the contribution of each to the answer, and the fusion's gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.report.charts import bars
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Drawing

__all__ = ["attribution_panel", "gates_panel"]


def attribution_panel(value: Sequence[Mapping[str, Any]], context: PanelContext) -> Drawing | None:
    """Draw the result of `model.attribution.leave_one_out`: the answer's probability with all modalities and without each."""
    if len(value) < 2:
        return None
    rows = []
    for entry in value:
        name = "everything" if entry["modality"] is None else f"without {entry['modality']}"
        if entry.get("needed"):
            rows.append((name, 0.0, "no answer without it"))
            continue
        change = "" if entry["modality"] is None else f" ({entry['change']:+.3f})"
        rows.append((name, entry["probability"], f"{entry['probability']:.3f}{change}"))
    return bars(context, rows, most=1.0)


def gates_panel(value: Sequence[Mapping[str, Any]], context: PanelContext) -> Drawing | None:
    """Draw the gates of the gated fusion: per scene the mean gate, and each modality's share of its input."""
    rows = []
    for entry in value:
        scene = f" of scene {entry['scene'] + 1}" if len(value) > 1 else ""
        rows.append((f"gate{scene}", float(entry["gate"]), f"{entry['gate']:.3f}"))
        rows += [(f"{name}'s share", float(share), f"{share:.3f}") for name, share in entry["share"].items()]
    return bars(context, rows, most=1.0) if rows else None
