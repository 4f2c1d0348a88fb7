"""`vidweave explain`: an answer with all that led to it, as a page and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.ask import answer_clip, with_modalities
from vidweave.cli.options import DEFAULT_MODEL, Choices, Device, Dtype, End, FolderRate, ModelName, NumFrames, Start
from vidweave.cli.output import Json, show
from vidweave.errors import QueryError

__all__ = ["explain"]


@with_modalities
def explain(
    clip: Annotated[
        str, typer.Argument(metavar="CLIP", help="Video file; leave it out where another modality is given.")
    ],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask.")] = None,
    out: Annotated[Path, typer.Option(help="The page; a picture of it is written beside it.")] = Path("explain.html"),
    option: Choices = None,
    model: ModelName = DEFAULT_MODEL,
    start: Start = None,
    end: End = None,
    fps: FolderRate = None,
    frames: NumFrames = None,
    device: Device = None,
    dtype: Dtype = None,
    full_trace: Annotated[
        bool, typer.Option("--full-trace", help="Everything the trace can tell, however long.")
    ] = False,
    as_json: Json = False,
    **modalities: str | None,
) -> None:
    """Answer QUESTION about CLIP, and write down how the answer came about.

    The page is one HTML file without scripts: the pictures used and why, tokens, seconds, what each part of the model
    says of itself, and, with several modalities, how probable the answer is without each.
    """
    given = {name: source for name, source in modalities.items() if source is not None}
    video, text = (clip, question) if question is not None else (None, clip)
    if video is None and not given:
        raise QueryError(
            f"a clip and a question are needed, got only {clip!r}; e.g. vidweave explain clip.mp4 'What happens?'"
        )
    if out.suffix.lower() not in (".html", ".htm"):
        raise QueryError(f"--out must end in .html, got {out.name!r}; the picture is written beside it as .png")
    if not out.parent.is_dir():
        raise QueryError(f"the folder of --out does not exist: {str(out.parent)!r}")
    wanted = {"name": model, "device": device, "dtype": dtype}
    how = {"num_frames": frames, "trace": "full" if full_trace else True}
    query, answer = answer_clip(
        video,
        given,
        text,
        option or [],
        {"start_seconds": start, "end_seconds": end, "fps": fps},
        wanted,
        how,
        attributes=True,
    )
    from vidweave.report.page import explain as explain_answer

    page, picture = explain_answer(query, answer).save(out)
    show(
        {"page": page, "picture": picture, "answer": answer.text},
        f"{answer.text}\n{page}\n{picture}",
        as_json=as_json,
    )
