"""`vidweave select`: which moments of a clip a question is about."""

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

DEFAULT_SELECTING_MODEL = "tiny-videotgb"  # shipped: its bridge knows the motions of the toy world


def select(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What the moments are for.")],
    num_frames: Annotated[int, typer.Option("--frames", "--k", "-k", min=1, help="How many timestamps.")] = 8,
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
            help="Whose selector and motion: a name from `vidweave models list`, a folder or a hub id.",
            callback=checked_model,
        ),
    ] = DEFAULT_SELECTING_MODEL,
    start: Start = None,
    end: End = None,
    fps: FolderRate = None,
    flow: Annotated[
        str | None, typer.Option(help="Flow that was extracted before, for a model that watches it.")
    ] = None,
    device: Device = None,
    isolate: Annotated[bool, typer.Option("--isolate", help="Decode in a process that can be killed.")] = False,
    as_json: Json = False,
) -> None:
    """Select the timestamps of CLIP that QUESTION is about, with spans and scores, without decoding the frames there.

    Any model can look at them then: the times are seconds of the file.
    """
    import vidweave
    from vidweave.media.open import open_clip

    given = vidweave.Clip(clip, start_seconds=start, end_seconds=end, fps=fps, flow=flow)
    vidweave.Query.about(given, question)
    with open_clip(given, "video"):
        pass
    pipe = load_pipeline(model, device=device)
    with show_elapsed("selecting"):
        told = _moments(pipe, SELECTORS.entry(selector), given, question, num_frames, isolate)
    show({"clip": clip, "question": question, "selector": selector, **told}, _text(told), as_json=as_json)


def _moments(pipe: Any, entry: Any, clip: Any, question: str, num_frames: int, isolate: bool) -> dict[str, Any]:
    from dataclasses import replace

    limits = replace(pipe.processor.limits, isolate=True) if isolate else None
    own = pipe.model.spec.selector.kind
    if entry.name == "grounding" and own != "grounding":
        raise ConfigError(f"this model selects by {own!r}; give one with a bridge, or --selector {own}")
    chooser = None if entry.name == own else entry.load()().build().eval()
    return pipe.select(clip, question, num_frames=num_frames, selector=chooser, limits=limits)


def _text(told: dict[str, Any]) -> str:
    rows = [(f"{t:.3f}", index) for t, index in zip(told["seconds"], told["indices"], strict=True)]
    spans = [
        f"span {span['start']:.3f} to {span['end']:.3f} s" + ("" if span["score"] is None else f", {span['score']:.1%}")
        for span in told["spans"]
    ]
    notes = [f"note: {note}" for note in told["notes"]]
    return "\n".join([table(rows, ("seconds", "picture")), *spans[:8], *notes])
