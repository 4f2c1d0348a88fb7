"""`vidweave select`: select the timestamps of a clip that are relevant to a question."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import (
    Device,
    End,
    FeatureCache,
    FolderRate,
    SelectorModel,
    Start,
    checked_model,
    chosen_selector,
)
from vidweave.cli.output import Json, show, table
from vidweave.cli.progress import show_elapsed
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.registry import FRAME_SELECTORS, SELECTORS

__all__ = ["DEFAULT_SELECTING_MODEL", "select"]

DEFAULT_SELECTING_MODEL = "tiny-videotgb"  # shipped, with a bridge trained on the motions of the toy world


def select(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question to select frames for.")],
    num_frames: Annotated[int, typer.Option("--frames", "--k", "-k", min=1, help="Number of timestamps.")] = 8,
    selector: Annotated[
        str,
        typer.Option(
            metavar="NAME[:MODEL]",
            help="similarity:MODEL or ground:MODEL, with the folder or hub id of a dual encoder (CLIP, SigLIP); or a selector "
            "with motion: uniform, all_frames, motion_peaks, grounding (the model's own; `vidweave list selectors`).",
        ),
    ] = "grounding",
    selector_model: SelectorModel = None,
    model: Annotated[
        str,
        typer.Option(
            help="Model that provides the selector and motion: a name from `vidweave models list`, a folder or a hub id.",
            callback=checked_model,
        ),
    ] = DEFAULT_SELECTING_MODEL,
    start: Start = None,
    end: End = None,
    fps: FolderRate = None,
    flow: Annotated[str | None, typer.Option(help="Previously extracted flow, for models that use it.")] = None,
    device: Device = None,
    cache: FeatureCache = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Decode in a separate process that can be killed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Select the timestamps of CLIP that are relevant to QUESTION, with spans and scores, without decoding those frames.

    Timestamps are in seconds of the file, so that any other model can use them.
    """
    in_front = None if selector in SELECTORS else chosen_selector(_known(selector), selector_model)
    if in_front is None and selector_model is not None:
        raise ConfigError(
            f"the selector {selector!r} takes no --selector-model, got {selector_model!r}; use --selector similarity or ground"
        )
    import vidweave
    from vidweave.media.open import open_clip

    given = vidweave.Clip(clip, start_seconds=start, end_seconds=end, fps=fps, flow=flow)
    vidweave.Query.about(given, question)
    with open_clip(given, "video"):
        pass
    if in_front is not None:
        selection = _score(in_front, given, question, num_frames, isolate, device=device, cache_folder=cache)
    else:
        pipe = load_pipeline(model, device=device)
        with show_elapsed("selecting"):
            selection = _select(pipe, SELECTORS.entry(selector), given, question, num_frames, isolate)
    show({"clip": clip, "question": question, "selector": selector, **selection}, _text(selection), as_json=as_json)


def _known(selector: str) -> str:
    """`selector`, whose name must be a selector of either kind."""
    name = selector.partition(":")[0]
    if name not in FRAME_SELECTORS and name not in SELECTORS:
        raise UnknownNameError("selector", name, {*SELECTORS, *FRAME_SELECTORS})
    return selector


def _score(given: str, clip: Any, question: str, num_frames: int, isolate: bool, **place: Any) -> dict[str, Any]:
    """Select with a frame selector, which needs no model beside its own."""
    from vidweave.media.limits import Limits
    from vidweave.pipelines.frame_selection.names import frame_selector
    from vidweave.pipelines.frame_selection.panel import select_frames

    with show_elapsed(f"loading {given}"):
        chooser = frame_selector(given, **place)
    assert chooser is not None
    with show_elapsed("selecting"):
        selection = select_frames(chooser, clip, question, num_frames=num_frames, limits=Limits(isolate=isolate))
    chooser.close()
    return selection


def _select(pipe: Any, entry: Any, clip: Any, question: str, num_frames: int, isolate: bool) -> dict[str, Any]:
    from dataclasses import replace

    from vidweave.media.limits import Limits
    from vidweave.pipelines.slot import SlotPipeline

    if not isinstance(pipe, SlotPipeline):  # such a model has no selector inside
        given = None if entry.name == "grounding" else entry.name
        return pipe.select(clip, question, num_frames=num_frames, selector=given, limits=Limits(isolate=isolate))
    limits = replace(pipe.processor.limits, isolate=True) if isolate else None
    own = pipe.model.spec.selector.kind
    if entry.name == "grounding" and own != "grounding":
        raise ConfigError(f"the selector of this model is {own!r}; give a model with a bridge, or --selector {own}")
    chooser = None if entry.name == own else entry.load()().build().eval()
    return pipe.select(clip, question, num_frames=num_frames, selector=chooser, limits=limits)


def _text(selection: dict[str, Any]) -> str:
    rows = [(f"{t:.3f}", index) for t, index in zip(selection["seconds"], selection["indices"], strict=True)]
    spans = [
        f"span {span['start']:.3f} to {span['end']:.3f} s" + _score_text(span["score"], selection)
        for span in selection["spans"]
    ]
    notes = [f"note: {note}" for note in selection["notes"]]
    return "\n".join([table(rows, ("seconds", "frame")), *spans[:8], *_costs(selection), *notes])


def _score_text(score: float | None, selection: dict[str, Any]) -> str:
    """A probability in percent; a frame selector's scores are cosine similarities."""
    if score is None:
        return ""
    return f", similarity {score:.3f}" if selection.get("scores") else f", {score:.1%}"


def _costs(selection: dict[str, Any]) -> list[str]:
    """One line on what a frame selector did, and how long it takes per hour of video."""
    costs = selection.get("costs") or {}
    if "frames_scored" not in costs:
        return []
    scored = f"{costs['frames_scored']} of {costs['video_frames']} frames scored, {costs['frames_decoded']} decoded now"
    return [f"{scored}: {costs['seconds']:.2f} s, {costs['seconds_per_hour']:.1f} s per hour of video"]
