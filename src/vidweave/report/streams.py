"""The panels of streams: which had nothing to look at, and which were joined to what the language model read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vidweave.report.charts import paragraph
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Drawing

__all__ = ["absent_panel", "fused_panel"]


def absent_panel(value: Mapping[str, Sequence[Sequence[int]]], context: PanelContext) -> Drawing | None:
    """`value` is the connector's account: stream → the (item, scene) pairs that it had nothing of."""
    several = len({scene for pairs in value.values() for _, scene in pairs}) > 1
    told = []
    for name, pairs in value.items():
        scenes = sorted({scene + 1 for _, scene in pairs})
        told.append(f"{name} (of scene {', '.join(map(str, scenes))})" if several else name)
    return paragraph(context, f"not given: {', '.join(told)}") if told else None


def fused_panel(value: Mapping[str, Sequence[str]], context: PanelContext) -> Drawing | None:
    """`value` is the fusion's account: block of tokens → the streams that it was made of."""
    told = [f"{block}: {' + '.join(streams)}" for block, streams in value.items()]
    return paragraph(context, "; ".join(told)) if told else None
