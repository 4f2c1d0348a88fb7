"""Choices of frame selectors as the panel `selection` of a Trace, and as tensors for models of our slots."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

import numpy as np

from vidweave.media.limits import Limits
from vidweave.types import Clip, FrameSelection, FrameSelector

__all__ = ["describe_selection", "select_frames", "selection_panel"]

MAX_STEPS = 256  # of a curve; longer curves are reduced to the maximum of neighboring steps


def selection_panel(selections: Mapping[str, FrameSelection]) -> dict[str, Any]:
    """The Trace's panel `selection`: scene label → choice, with the reason of the first."""
    scenes = {label: describe_selection(selection) for label, selection in selections.items()}
    return {"reason": next(iter(selections.values())).reason, "scenes": scenes}


def select_frames(
    selector: FrameSelector,
    clip: Clip,
    question: str,
    *,
    num_frames: int,
    limits: Limits | None = None,
    cancel: Event | None = None,
) -> dict[str, Any]:
    """The timestamps of `clip` that the question is about as plain data, as every pipeline's `select` returns them."""
    selection = selector.select(clip, question, num_frames=num_frames, limits=limits, cancel=cancel)
    facts = {"indices": list(selection.indices), "notes": list(selection.notes)}
    return {"reason": selection.reason, **describe_selection(selection), **facts}


def describe_selection(selection: FrameSelection) -> dict[str, Any]:
    """Plain data: `seconds`, `scores`, `spans` with `start`, `end` and `score`, `costs`; with a curve, `steps` and `similarity`."""
    info: dict[str, Any] = {
        "seconds": list(selection.seconds),
        "scores": list(selection.scores),
        "spans": [{"start": span.start, "end": span.end, "score": span.score} for span in selection.spans],
        "costs": dict(selection.costs),
    }
    if selection.curve:
        seconds, scores = np.asarray(selection.curve, dtype=np.float64).T
        parts = min(len(seconds), MAX_STEPS)
        info["steps"] = [round(float(part.mean()), 6) for part in np.array_split(seconds, parts)]
        info["similarity"] = [round(float(part.max()), 6) for part in np.array_split(scores, parts)]
    return info
