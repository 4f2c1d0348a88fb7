"""`vidweave stream`: answer one question repeatedly while a clip is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from vidweave.cli.amounts import parse_seconds
from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import Choices, Device, Dtype, End, ModelName, Start
from vidweave.cli.output import Json, show
from vidweave.errors import QueryError

__all__ = ["stream"]

DEFAULT_MODEL = "tiny-malmm"  # shipped, with a memory: accepts clips of any length


def stream(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.")],
    every: Annotated[str, typer.Option(help="Interval between answers in clip time, e.g. 5s or 1.5m.")] = "12.5s",
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames sampled per second (default: the model's own rate).")
    ] = None,
    option: Choices = None,
    model: ModelName = DEFAULT_MODEL,
    start: Start = None,
    end: End = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Answer QUESTION repeatedly about the part of CLIP read so far, with the time of each answer.

    Each frame is read once. If the model has a memory, neither memory use nor the cost of an answer grows with the clip.
    """
    step = parse_seconds(every)
    if step <= 0:
        raise QueryError(f"--every must be above 0, got {every!r}")
    import vidweave

    vidweave.Clip(clip, start_seconds=start, end_seconds=end)  # a bad span fails before anything is read
    segments = list(_segments(clip, step, start or 0.0, end))
    answers: list[dict[str, Any]] = []
    for until, answer in _answers(clip, question, option or [], segments, fps, model, device, dtype):
        answers.append({"seconds": until, **answer.to_dict()})
        if not as_json:
            show({}, f"{until:9.2f} s  {answer.text}", as_json=False)
    if as_json:
        show({"question": question, "answers": answers}, "", as_json=True)


def _segments(clip: str, step: float, start: float, end: float | None) -> Iterator[tuple[float, float]]:
    """Yield (start, end) seconds of the segments with at least one frame; fails on a bad file before a model is loaded."""
    from vidweave.media.open import open_source

    with open_source(clip, "video") as source:
        times, duration = source.timeline()
    end = duration if end is None else min(end, duration)
    if start >= end:
        raise QueryError(f"the span is empty: it starts at {start:g} s and ends at {end:g} s")
    count = 0
    while (begin := start + count * step) < end:
        until = min(start + (count + 1) * step, end)  # exactly the start of the next segment
        if bool(((times >= begin) & (times < until)).any()):
            yield begin, until
        count += 1


def _answers(
    clip: str,
    question: str,
    options: list[str],
    segments: list[tuple[float, float]],
    fps: float | None,
    name: str,
    device: str | None,
    dtype: str | None,
) -> Iterator[tuple[float, Any]]:
    import vidweave

    vidweave.Query.about(vidweave.Clip(clip), question, options)  # a bad question fails before a model is loaded
    live = load_pipeline(name, device=device, dtype=dtype).stream(question)
    if fps is None and not live.has_rate:
        raise QueryError(f"{name} does not define a frame rate; give --fps, e.g. --fps 1")
    for begin, until in segments:
        live.push(vidweave.Clip(clip, start_seconds=begin, end_seconds=until), fps=fps)
        yield until, live.ask(question, options=options)
