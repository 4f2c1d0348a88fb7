"""Panels of streams: missing inputs, and streams fused before the language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidweave.report.charts import paragraph
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Drawing

__all__ = ["absent_panel", "fused_panel"]


def absent_panel(value: Mapping[str, Sequence[Sequence[int]]], context: PanelContext) -> Drawing | None:
    """Draw the streams without input: stream → the (item, scene) pairs without media."""
    several = len({scene for pairs in value.values() for _, scene in pairs}) > 1
    names = []
    for name, pairs in value.items():
        scenes = sorted({scene + 1 for _, scene in pairs})
        names.append(f"{name} (of scene {', '.join(map(str, scenes))})" if several else name)
    return paragraph(context, f"not given: {', '.join(names)}") if names else None


def fused_panel(value: Mapping[str, Sequence[str]], context: PanelContext) -> Drawing | None:
    """Draw the fused blocks: token block → its streams."""
    blocks = [f"{block}: {' + '.join(streams)}" for block, streams in value.items()]
    return paragraph(context, "; ".join(blocks)) if blocks else None
