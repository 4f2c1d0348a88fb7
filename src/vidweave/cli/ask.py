"""`vidweave ask`: answer a question about a clip."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.audit import audit_lines
from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import (
    DEFAULT_MODEL,
    Adapter,
    Choices,
    Device,
    Dtype,
    End,
    FeatureCache,
    FolderRate,
    ModelName,
    NumFrames,
    SelectorModel,
    SelectorName,
    Start,
    chosen_selector,
)
from vidweave.cli.output import Json, show, table
from vidweave.cli.progress import show_elapsed
from vidweave.errors import MediaTypeError, QueryError
from vidweave.registry import MODALITIES

if TYPE_CHECKING:
    from vidweave.types import Answer, Clip, Query

__all__ = ["answer_clip", "ask", "with_modalities"]


def with_modalities(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the ``**modalities`` of `command` by one option per registered modality other than video."""
    own = signature(command, eval_str=True)
    parameters = [p for p in own.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    for name in MODALITIES:
        if name != "video":
            words = name.replace("_", " ")
            flag = typer.Option(f"--{name.replace('_', '-')}", metavar="SOURCE", help=f"File or folder with {words}.")
            kind = Annotated[str | None, flag]
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    setattr(command, "__signature__", own.replace(parameters=parameters))  # noqa: B010  # not declared on functions
    return command


@with_modalities
def ask(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="Video file; optional if another modality is given.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="The question.")] = None,
    option: Choices = None,
    model: ModelName = DEFAULT_MODEL,
    start: Start = None,
    end: End = None,
    fps: FolderRate = None,
    frames: NumFrames = None,
    selector: SelectorName = None,
    selector_model: SelectorModel = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum answer length in tokens (without options).")
    ] = None,
    num_beams: Annotated[
        int | None, typer.Option(min=1, help="Number of beams in beam search (without options).")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Sampling temperature (without options).")] = None,
    normalize: Annotated[str, typer.Option(help="Option scores: `sum` over tokens, or `mean` per token.")] = "sum",
    device: Device = None,
    dtype: Dtype = None,
    cache: FeatureCache = None,
    adapter: Adapter = None,
    full_trace: Annotated[
        bool, typer.Option("--full-trace", help="Include all details of the trace (with --json).")
    ] = False,
    as_json: Json = False,
    **modalities: str | None,
) -> None:
    """Answer QUESTION about CLIP.

    With options, score each one and answer with the best. Without, generate free text.
    """
    given = {name: source for name, source in modalities.items() if source is not None}
    video, text = (clip, question) if question is not None else (None, clip)
    if video is None and not given:
        raise QueryError(
            f"a clip and a question are needed, got only {clip!r}; e.g. vidweave ask clip.mp4 'What happens?'"
        )
    if normalize not in ("sum", "mean"):
        raise QueryError(f"--normalize must be sum or mean, got {normalize!r}")
    chosen = chosen_selector(selector, selector_model)
    decoding = _decoding(max_new_tokens, num_beams, temperature)
    if decoding and option:
        raise QueryError(f"{', '.join(decoding)} would have no effect: options are scored, not generated")
    _, answer = answer_clip(
        video,
        given,
        text,
        option or [],
        {"start_seconds": start, "end_seconds": end, "fps": fps},
        {
            "name": model,
            "device": device,
            "dtype": dtype,
            "cache_folder": cache,
            "adapter": adapter,
            "selector": chosen,
        },
        {"num_frames": frames, "trace": "full" if full_trace else True, "normalize": normalize, **decoding},
    )
    rows = [(f"  {choice.text}", f"{choice.score:.3f}") for choice in answer.options]
    notes = [f"note: {note}" for note in (answer.trace.notes if answer.trace else [])]
    lines = [answer.text, table(rows), *audit_lines(answer.trace), *notes]
    show(answer.to_dict(), "\n".join(filter(None, lines)), as_json=as_json)


def answer_clip(
    video: str | None,
    given: dict[str, str],
    text: str,
    options: list[str],
    settings: dict[str, float | None],
    load_arguments: dict[str, Any],
    ask_arguments: dict[str, Any],
    *,
    attributes: bool = False,
) -> tuple[Query, Answer]:
    """Answer a question about a clip; return the query and the answer. Bad input fails before a model is loaded.

    Args:
        given: Modality → source, for modalities other than video.
        settings: Further arguments of `vidweave.Clip`: span and frame rate.
        load_arguments: Arguments of `load_pipeline`.
        ask_arguments: Arguments of the pipeline's `ask`.
        attributes: Add leave-one-out attribution per modality to the trace, if the clip has several.
    """
    import vidweave

    sources: dict[str, Any] = {**settings, **given}
    clip = vidweave.Clip(video, **sources)
    query = vidweave.Query.about(clip, text, options)
    _check_sources(clip)
    pipe = load_pipeline(**load_arguments)
    with show_elapsed("answering"):
        answer = pipe.ask(clip, text, options=options, **ask_arguments)
    if attributes and len(list(clip)) > 1:
        from vidweave.pipelines.attribution import leave_one_out
        from vidweave.pipelines.slot import SlotPipeline

        if answer.trace is not None and isinstance(pipe, SlotPipeline):
            attribution = leave_one_out(pipe, query, answer, num_frames=ask_arguments.get("num_frames"))
            answer.trace.panels["attribution"] = attribution
    return query, answer


def _check_sources(clip: Clip) -> None:
    """Open every source, so that bad files fail before a model is loaded."""
    from vidweave.media.open import open_clip

    for modality, source in clip.items():
        try:
            with open_clip(clip, modality):
                pass
        except MediaTypeError as error:
            if modality == "video" and "--audio" not in str(error) and _is_audio(source):
                raise MediaTypeError(f"{error}; give audio with --audio") from error
            raise


def _is_audio(source: str) -> bool:
    from vidweave.errors import MediaError
    from vidweave.media.inspect import inspect_file

    try:
        kinds = {stream["type"] for stream in inspect_file(source)["streams"]}
    except MediaError:
        return False
    return "audio" in kinds and "video" not in kinds


def _decoding(max_new_tokens: int | None, num_beams: int | None, temperature: float | None) -> dict[str, Any]:
    given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
    if temperature is not None:
        given |= {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    return {name: value for name, value in given.items() if value is not None}
