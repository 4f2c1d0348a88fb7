"""`vidweave select`: select the timestamps of a clip that are relevant to a question."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import Device, End, FolderRate, Start, checked_model
from vidweave.cli.output import Json, show, table
from vidweave.cli.progress import show_elapsed
from vidweave.errors import ConfigError
from vidweave.registry import SELECTORS

__all__ = ["DEFAULT_SELECTING_MODEL", "select"]

DEFAULT_SELECTING_MODEL = "tiny-videotgb"  # shipped, with a bridge trained on the motions of the toy world


def select(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question to select frames for.")],
    num_frames: Annotated[int, typer.Option("--frames", "--k", "-k", min=1, help="Number of timestamps.")] = 8,
    selector: Annotated[
        str,
        typer.Option(
            help="uniform, all_frames, motion_peaks, grounding (the model's own), or one of `vidweave list selectors`.",
            callback=lambda name: SELECTORS.entry(name).name,
        ),
    ] = "grounding",
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
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Decode in a separate process that can be killed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Select the timestamps of CLIP that are relevant to QUESTION, with spans and scores, without decoding those frames.

    Timestamps are in seconds of the file, so that any other model can use them.
    """
    import vidweave
    from vidweave.media.open import open_clip

    given = vidweave.Clip(clip, start_seconds=start, end_seconds=end, fps=fps, flow=flow)
    vidweave.Query.about(given, question)
    with open_clip(given, "video"):
        pass
    pipe = load_pipeline(model, device=device)
    with show_elapsed("selecting"):
        selection = _select(pipe, SELECTORS.entry(selector), given, question, num_frames, isolate)
    show({"clip": clip, "question": question, "selector": selector, **selection}, _text(selection), as_json=as_json)


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
        f"span {span['start']:.3f} to {span['end']:.3f} s" + ("" if span["score"] is None else f", {span['score']:.1%}")
        for span in selection["spans"]
    ]
    notes = [f"note: {note}" for note in selection["notes"]]
    return "\n".join([table(rows, ("seconds", "frame")), *spans[:8], *notes])
