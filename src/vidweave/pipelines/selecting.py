"""A selector's inputs and choices as plain data: for the Trace, and for callers that need timestamps only."""

# Axes: R rows, L motion steps, m spans, k timestamps

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidweave.errors import CancelledError, ModalityError
from vidweave.media.limits import Limits
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import FeatureCache
from vidweave.model.prepared import RULE_SELECTIONS
from vidweave.model.processor import Processor
from vidweave.types import Clip, Query, Selection, Trace

__all__ = ["MAX_STEPS", "check_cancelled", "describe_row", "select_timestamps", "add_selection_panel"]

MAX_STEPS = 256  # of a curve; longer curves are reduced to the maximum of neighboring steps


def check_cancelled(cancel: Event | None) -> None:
    """Raise CancelledError once `cancel` is set."""
    if cancel is not None and cancel.is_set():
        raise CancelledError("the call was cancelled; nothing was answered")


def select_timestamps(
    model: VideoLanguageModel,
    processor: Processor,
    clip: Clip,
    question: str,
    *,
    num_frames: int,
    selector: nn.Module | None = None,
    limits: Limits | None = None,
    cancel: Event | None = None,
    cache: FeatureCache | None = None,
) -> dict[str, Any]:
    """The `num_frames` timestamps of `clip` that the question is about; see `SlotPipeline.select`."""
    check_cancelled(cancel)
    chooser: Any = model.selector if selector is None else selector
    query = Query.about(clip, question)
    with processor.prepare(query, cache=cache, has_motion=chooser.needs_motion, limits=limits) as prepared:
        check_cancelled(cancel)
        selection = model.select(prepared, k=num_frames, selector=selector)
        if selection is None:
            raise ModalityError("the clip has no frames to select from")
        candidates = prepared.candidates[0][prepared.mask[0]]
    info = describe_row(selection, 0, prepared.energy)
    apart = (candidates[None] - torch.tensor(info["seconds"], dtype=candidates.dtype)[:, None]).abs()
    notes = [note for *_, row in prepared.motion_rows for note in row.notes] + [note for _, note in selection.notes]
    return {"reason": selection.reason, **info, "indices": apart.argmin(1).tolist(), "notes": notes}


def add_selection_panel(
    traces: Sequence[Trace], queries: Sequence[Query], selection: Selection | None, energy: Tensor | None
) -> None:
    """Add the panel `selection` and the selector's notes to the traces, unless the timestamps follow from a plain rule."""
    if selection is None or selection.reason in RULE_SELECTIONS:
        return
    assert selection.item is not None
    assert selection.scene is not None
    pairs = list(zip(selection.item.tolist(), selection.scene.tolist(), strict=True))
    for row, (item, scene) in enumerate(pairs):
        panel = traces[item].panels.setdefault("selection", {"reason": selection.reason, "scenes": {}})
        panel["scenes"][queries[item].scenes[scene].label] = describe_row(selection, row, energy)
    for row, note in selection.notes:
        traces[pairs[row][0]].notes.append(note)


def describe_row(selection: Selection, row: int, energy: Tensor | None = None) -> dict[str, Any]:
    """One row of a selection: `seconds` chosen, `spans` with `start`, `end` and `score` (None where the selector has
    none), and, for selectors with a motion stream, curves over the `steps` (their midpoints in seconds): `energy` of the
    motion, and the `probability` that a span covers the step.
    """
    seconds = selection.seconds[row][selection.mask[row]].tolist()
    info: dict[str, Any] = {"seconds": seconds, "spans": _spans(selection, row)}
    if selection.steps is None or selection.step_mask is None:
        return info
    real = selection.step_mask[row].cpu()
    if not bool(real.any()):
        return info
    info["steps"] = _joined(selection.steps[row].cpu().mean(-1)[real], "mean")
    if energy is not None:
        info["energy"] = _joined(energy[row].cpu()[real], "max")
    if selection.logits is not None:
        info["probability"] = _joined(_covered(selection.logits[row].detach().cpu()[real]), "max")
    return info


def _spans(selection: Selection, row: int) -> list[dict[str, float | None]]:
    scores = [None] * selection.spans.shape[1] if selection.scores is None else selection.scores[row].tolist()
    spans = zip(selection.spans[row].tolist(), scores, strict=True)
    return [
        {"start": start, "end": end, "score": score}
        for i, ((start, end), score) in enumerate(spans)
        if score is None or score > 0 or i == 0
    ]


def _covered(logits: Tensor) -> Tensor:
    """Logits (L, 2) of start and end, drawn independently → (L,) probability that a step lies between them."""
    start, end = logits.float().softmax(0).unbind(-1)
    return start.cumsum(0) * end.flip(0).cumsum(0).flip(0)


def _joined(curve: Tensor, reduction: str) -> list[float]:
    """At most MAX_STEPS numbers: the mean or the largest of equal parts."""
    parts = np.array_split(curve.to(torch.float64).numpy(), min(len(curve), MAX_STEPS))
    return [round(float(part.mean() if reduction == "mean" else part.max()), 6) for part in parts]
