"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "DEFAULT_MODEL",
    "Choices",
    "Device",
    "Dtype",
    "End",
    "FeatureCache",
    "FolderRate",
    "ModelName",
    "NumFrames",
    "Start",
]

DEFAULT_MODEL = "tiny-base"  # shipped with the package: knows the toy world only

Choices = Annotated[list[str] | None, typer.Option(help="An answer to choose from; give it once per option.")]
Device = Annotated[str | None, typer.Option(help="Where to compute, e.g. cuda.")]
Dtype = Annotated[str | None, typer.Option(help="Of the weights, e.g. bfloat16.")]
End = Annotated[float | None, typer.Option(help="Look up to here, in seconds.")]
FeatureCache = Annotated[
    str | None, typer.Option(envvar="VIDWEAVE_CACHE", help="Keep features of frozen encoders here.")
]
FolderRate = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, help="Frame rate of folders and arrays of frames, which carry no times."),
]
ModelName = Annotated[str, typer.Option(help="A name from `vidweave models list`, a folder or a hub id.")]
NumFrames = Annotated[int | None, typer.Option(min=1, help="Pictures to look at; the model's own number if left out.")]
Start = Annotated[float | None, typer.Option(help="Look from here on, in seconds.")]
