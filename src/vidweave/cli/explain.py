"""`vidweave explain`: answer a question and write a page and an image that show how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.ask import answer_clip, with_modalities
from vidweave.cli.options import (
    DEFAULT_MODEL,
    Choices,
    Device,
    Dtype,
    End,
    FolderRate,
    ModelName,
    NumFrames,
    SelectorModel,
    SelectorName,
    Start,
    chosen_selector,
)
from vidweave.cli.output import Json, show
from vidweave.errors import QueryError

__all__ = ["explain"]


@with_modalities
def explain(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file; optional if another modality is given.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="The question.")] = None,
    out: Annotated[Path, typer.Option(help="Output page; an image of it is written beside it.")] = Path("explain.html"),
    option: Choices = None,
    model: ModelName = DEFAULT_MODEL,
    start: Start = None,
    end: End = None,
    fps: FolderRate = None,
    frames: NumFrames = None,
    selector: SelectorName = None,
    selector_model: SelectorModel = None,
    device: Device = None,
    dtype: Dtype = None,
    full_trace: Annotated[
        bool, typer.Option("--full-trace", help="Include all details of the trace, however long.")
    ] = False,
    as_json: Json = False,
    **modalities: str | None,
) -> None:
    """Answer QUESTION about CLIP, and write a page that shows how the answer came about.

    The page is one HTML file without scripts: the selected frames, tokens, timings, the trace of each model component
    and, with several modalities, the probability of the answer without each.
    """
    given = {name: source for name, source in modalities.items() if source is not None}
    video, text = (clip, question) if question is not None else (None, clip)
    if video is None and not given:
        raise QueryError(
            f"a clip and a question are needed, got only {clip!r}; e.g. vidweave explain clip.mp4 'What happens?'"
        )
    if out.suffix.lower() not in (".html", ".htm"):
        raise QueryError(f"--out must end in .html, got {out.name!r}; the image is written beside it as .png")
    if not out.parent.is_dir():
        raise QueryError(f"the folder of --out does not exist: {str(out.parent)!r}")
    chosen = chosen_selector(selector, selector_model)
    load_arguments = {"name": model, "device": device, "dtype": dtype, "selector": chosen}
    ask_arguments = {"num_frames": frames, "trace": "full" if full_trace else True}
    query, answer = answer_clip(
        video,
        given,
        text,
        option or [],
        {"start_seconds": start, "end_seconds": end, "fps": fps},
        load_arguments,
        ask_arguments,
        attributes=True,
    )
    from vidweave.report.page import explain as explain_answer

    page, image = explain_answer(query, answer).save(out)
    show(
        {"page": page, "picture": image, "answer": answer.text},
        f"{answer.text}\n{page}\n{image}",
        as_json=as_json,
    )
