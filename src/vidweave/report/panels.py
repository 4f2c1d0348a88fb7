"""Panels of the parts of a model: draw `Trace.panels`, one section per key.

A panel is a function ``(value, PanelContext) -> Drawing | None``, in its own file, registered under the key in
`registry.PANELS`; None draws nothing. An unregistered key is shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vidweave.registry import PANELS
from vidweave.report.charts import bars, paragraph
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Drawing

__all__ = ["Panel", "draw_panels"]

Panel = Callable[[Any, PanelContext], Drawing | None]


def draw_panels(context: PanelContext) -> Iterator[tuple[str, Drawing]]:
    """Yield (title, drawing) of each non-empty panel, in the order of the trace."""
    for key, value in context.trace.panels.items():
        panel = PANELS.get(key) if key in PANELS else _anything
        drawing = panel(value, context)
        if drawing is not None:
            yield (PANELS.entry(key).facts.title or key if key in PANELS else key.replace("_", " ")), drawing


def _anything(value: Any, context: PanelContext) -> Drawing | None:
    """Draw numbers by name as bars, anything else as text, empty values not at all."""
    if value is None or (hasattr(value, "__len__") and not len(value)):
        return None
    if isinstance(value, Mapping) and all(isinstance(v, (int, float)) and v >= 0 for v in value.values()):
        return bars(context, [(str(name), float(v), f"{v:.4g}") for name, v in value.items()])
    return paragraph(context, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))
