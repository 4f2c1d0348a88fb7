"""Building the account of an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from vidweave.types import FrameUse, PanelSource, Query, Trace

__all__ = ["MAX_TRACE_FRAMES", "Stopwatch", "build_traces", "make_panels"]

MAX_TRACE_FRAMES = 512


class Stopwatch:
    """Seconds per stage."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def build_traces(
    queries: Sequence[Query],
    provenance: Mapping[str, Any],
    tokens: Sequence[dict[str, int]],
    seconds: Mapping[str, float],
    info: Mapping[str, Any],
    *,
    full: bool = False,
) -> list[Trace]:
    """One trace per query of a batch.

    Args:
        provenance: Stream → (item, scene, row) of the encoded media.
        tokens: Per item, language-model tokens by block.
        seconds: Wall time of the whole batch by stage.
        info: Information from the parts, by name: the same for all items, or a PanelSource.
        full: Keep every frame; otherwise at most MAX_TRACE_FRAMES, with a note.
    """
    traces = [
        Trace(tokens=dict(counts), seconds=dict(seconds), panels=make_panels(info, item, full))
        for item, counts in enumerate(tokens)
    ]
    for stream, rows in provenance.items():
        for item, scene, row in rows:
            label = queries[item].scenes[scene].label
            uses = [FrameUse(index, pts, stream, label, row.why) for index, pts in row.frames]
            traces[item].frames.extend(uses)
            traces[item].notes.extend(note for note in row.notes if note not in traces[item].notes)
    if len(queries) > 1:
        for trace in traces:
            trace.notes.append(f"seconds are those of a batch of {len(queries)}")
    for trace in traces:
        if not full and len(trace.frames) > MAX_TRACE_FRAMES:
            trace.notes.append(f"{MAX_TRACE_FRAMES} of {len(trace.frames)} frames are listed; use trace='full' for all")
            del trace.frames[MAX_TRACE_FRAMES:]
    return traces


def make_panels(info: Mapping[str, Any], item: int, full: bool) -> dict[str, Any]:
    """The panels of one item."""
    return {name: v.make(item, full) if isinstance(v, PanelSource) else v for name, v in info.items()}
