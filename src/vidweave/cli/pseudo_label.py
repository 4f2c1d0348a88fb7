"""`vidweave pseudo-label`: create spans for training a selector with a base model, without temporal annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import DEFAULT_MODEL, Device, Dtype, checked_model
from vidweave.cli.output import Json, show
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.data.schema import Example

__all__ = ["pseudo_label"]


def pseudo_label(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder of `vidweave toyworld make`, or a video-instruct JSON file with q, a and video_id.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output JSON lines; rerun to resume an interrupted run.")],
    media: Annotated[Path | None, typer.Option(help="Folder of the videos of a video-instruct file.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="The base model: a name from `vidweave models list`, a folder or a hub id.", callback=checked_model
        ),
    ] = DEFAULT_MODEL,
    score: Annotated[
        str, typer.Option(help="`recall` or `f1` of the generated words, or `likelihood` (no generation).")
    ] = "likelihood",
    subtract: Annotated[
        str, typer.Option(help="Subtract from all scores of a clip: `none`, their `min` or their `median`.")
    ] = "min",
    candidates: Annotated[int, typer.Option(min=1, help="Frames per clip.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames scored per batch.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N questions.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Score single frames of each clip with a base model, and keep the span in which they predict the answer.

    Each line of OUT contains the question, the span in seconds and the score of every frame; the first line contains the
    model and the settings.
    """
    for name, value, known in (
        ("--score", score, ("recall", "f1", "likelihood")),
        ("--subtract", subtract, ("none", "min", "median")),
    ):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    examples = _examples(data, media)[:limit]

    from vidweave.evaluation.runner import progress_bar
    from vidweave.pipelines.frame_scores import FrameScorer
    from vidweave.pipelines.load import require_slots
    from vidweave.training.pseudo_labels import MEASURES, label_clips

    base = require_slots(load_pipeline(model, device=device, dtype=dtype), "vidweave pseudo-label")
    scorer = FrameScorer(base, num_candidates=candidates, measure=MEASURES[score], batch_size=batch_size)
    count, seconds = 0, 0.0
    with progress_bar("pseudo-label", len(examples)) as advance:
        baseline: Any = subtract
        for label in label_clips(
            scorer, examples, out, subtract=baseline, provenance={"data": str(data), "score": score}
        ):
            count, seconds = count + 1, seconds + label.end - label.start
            advance(1)
    mean = seconds / max(1, count)
    show(
        {"out": out, "labels": count, "mean_span_seconds": round(mean, 3)},
        f"{count} labels in {out}, {mean:.2f} s on average",
        as_json=as_json,
    )


def _examples(data: Path, media: Path | None) -> list[Example]:
    if data.is_dir():
        from vidweave.data.toyworld import read_toyworld

        return read_toyworld(data)
    from vidweave.data.instruct import last_question, read_video_instruct

    if media is None:
        raise ConfigError(f"{data} names its videos by id; give their folder with --media")
    return [last_question(item) for item in read_video_instruct(data, media)]
