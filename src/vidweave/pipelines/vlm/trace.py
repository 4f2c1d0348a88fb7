"""The Trace of an answer of a vision-language model: frames, their times in the prompt, tokens and pixel budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidweave.pipelines.frame_selection.panel import selection_panel
from vidweave.pipelines.trace import MAX_TRACE_FRAMES
from vidweave.pipelines.vlm.family import VlmFamily
from vidweave.pipelines.vlm.footage import Shot
from vidweave.pipelines.vlm.prompt import Prompt, PromptWriter, ScenePart
from vidweave.types import Trace

__all__ = ["build_trace"]


def build_trace(
    family: VlmFamily,
    writer: PromptWriter,
    shots: Sequence[Shot],
    parts: Sequence[ScenePart],
    prompt: Prompt,
    seconds: Mapping[str, float],
    *,
    times_as_text: bool = False,
    full: bool = False,
) -> Trace:
    """The account of one answer.

    Args:
        shots, parts: Frames of the query, and what the model read of them, in the same order.
        seconds: Wall time by stage.
        full: Keep every frame; otherwise at most MAX_TRACE_FRAMES, with a note.
    """
    tokens: dict[str, int] = {}
    for part in parts:
        tokens[part.modality] = tokens.get(part.modality, 0) + writer.count_tokens(part.block)
    tokens["text"] = prompt.ids.shape[1] - sum(tokens.values())
    trace = Trace(tokens=tokens, seconds=dict(seconds), panels={"prompt": writer.shown(prompt)})
    trace.frames.extend(use for shot in shots for use in shot.uses)
    trace.panels["times"] = [_times(family, shot, part, times_as_text) for shot, part in zip(shots, parts, strict=True)]
    trace.panels["budget"] = [_budget(writer, shot, part) for shot, part in zip(shots, parts, strict=True)]
    chosen = {shot.label: shot.selection for shot in shots if shot.selection is not None}
    if chosen:
        trace.panels["selection"] = selection_panel(chosen)
    trace.notes.extend(dict.fromkeys(_notes(family, shots, parts, times_as_text)))
    if not full and len(trace.frames) > MAX_TRACE_FRAMES:
        trace.notes.append(f"{MAX_TRACE_FRAMES} of {len(trace.frames)} frames are listed; use trace='full' for all")
        del trace.frames[MAX_TRACE_FRAMES:]
    return trace


def _times(family: VlmFamily, shot: Shot, part: ScenePart, times_as_text: bool) -> dict[str, Any]:
    way = "text" if times_as_text else family.times
    return {
        "scene": shot.label,
        "reach_the_model_as": way if shot.modality == "video" else "none",
        "frames": [round(float(t), 3) for t in shot.footage.seconds],
        "model": list(part.block.seconds),
    }


def _budget(writer: PromptWriter, shot: Shot, part: ScenePart) -> dict[str, Any]:
    block = part.block
    return {
        "scene": shot.label,
        "height": block.height,
        "width": block.width,
        "max_pixels": block.max_pixels,
        "tokens": writer.count_tokens(block),
        "frames": len(shot.uses),
    }


def _notes(family: VlmFamily, shots: Sequence[Shot], parts: Sequence[ScenePart], times_as_text: bool) -> Iterator[str]:
    for shot, part in zip(shots, parts, strict=True):
        yield from shot.notes
        yield from part.block.notes
        if shot.modality == "video" and family.times == "none" and not times_as_text:
            yield (
                f"models of type {family.files.config.model_type!r} read the order of frames, not their times; "
                "times='text' adds the times to the prompt"
            )
        if shot.modality == "video" and family.temporal_patch > 1 and not shot.footage.is_dense:
            yield (
                f"each chosen frame fills a patch of {family.temporal_patch} frames of the model, so that its time is its "
                "own; sample densely (fps) to let neighbors share a patch"
            )
