"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from vidweave.cli.amounts import parse_seconds
from vidweave.errors import ConfigError
from vidweave.loading import check_device, check_dtype
from vidweave.model.names import find_model

__all__ = [
    "DEFAULT_MODEL",
    "MAX_SEED",
    "Choices",
    "Device",
    "Dtype",
    "End",
    "FeatureCache",
    "FolderRate",
    "ListRecipes",
    "ModelName",
    "NumFrames",
    "Overrides",
    "Start",
    "checked_device",
    "checked_dtype",
    "checked_model",
    "checked_recipe",
    "given_recipe",
    "parsed_duration",
    "parsed_time",
]

DEFAULT_MODEL = "tiny-base"  # shipped with the package: knows the toy world only
MAX_SEED = 2**63 - 1  # what generators of random numbers take


# These run while the command line is parsed, so that a wrong name costs no import of torch.
def checked_model(name: str | None) -> str | None:
    """A model's name, if there is such a model."""
    if name is not None:
        find_model(name)
    return name


def checked_device(name: str | None) -> str | None:
    """A device's name, if torch computes on such devices."""
    return None if name is None else check_device(name)


def checked_dtype(name: str | None) -> str | None:
    """A dtype's name, if weights can be of it."""
    return None if name is None else check_dtype(name, also=("auto",))


def checked_recipe(command: str) -> Callable[[str | None], str | None]:
    """A check that `command` has a recipe of this name or path."""

    def check(recipe: str | None) -> str | None:
        from vidweave.types.recipe import find_recipe

        if recipe is not None:
            find_recipe(recipe, command)
        return recipe

    return check


def given_recipe(recipe: str | None) -> str:
    """RECIPE, which may be left out beside --list only."""
    if recipe is None:
        raise typer.BadParameter("RECIPE is missing; give a name (--list prints them) or the path of a Python file")
    return recipe


Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the recipe.")]
ListRecipes = Annotated[bool, typer.Option("--list", help="List the recipes that ship with vidweave.")]


def _choices(texts: list[str] | None) -> list[str] | None:
    """A single option with a comma in it is a list that should have been several options."""
    if texts is not None and len(texts) == 1:
        parts = [part.strip() for part in texts[0].split(",") if part.strip()]
        if len(parts) > 1:
            advice = " ".join(f"--option {part!r}" if " " in part else f"--option {part}" for part in parts[:4])
            raise typer.BadParameter(f"one option came, {texts[0]!r}; repeat --option for each: {advice}")
    return texts


def parsed_time(text: str) -> float:
    """Seconds of a time; a wrong one names its option."""
    try:
        return parse_seconds(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def parsed_duration(text: str) -> float:
    """Seconds of a time that must be above 0."""
    if (seconds := parsed_time(text)) <= 0:
        raise typer.BadParameter(f"it must be above 0, got {text!r}")
    return seconds


Choices = Annotated[
    list[str] | None, typer.Option(help="An answer to choose from; give it once per option.", callback=_choices)
]
Device = Annotated[str | None, typer.Option(help="Where to compute, e.g. cuda.", callback=checked_device)]
Dtype = Annotated[str | None, typer.Option(help="Of the weights, e.g. bfloat16.", callback=checked_dtype)]
End = Annotated[
    float | None, typer.Option(help="Look up to here: seconds, or 1:30.", metavar="TIME", parser=parsed_time)
]
FeatureCache = Annotated[
    str | None, typer.Option(envvar="VIDWEAVE_CACHE", help="Keep features of frozen encoders here.")
]
FolderRate = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, help="Frame rate of folders and arrays of frames, which carry no times."),
]
ModelName = Annotated[
    str, typer.Option(help="A name from `vidweave models list`, a folder or a hub id.", callback=checked_model)
]
NumFrames = Annotated[int | None, typer.Option(min=1, help="Frames to look at; the model's own number if left out.")]
Start = Annotated[
    float | None, typer.Option(help="Look from here on: seconds, or 1:30.", metavar="TIME", parser=parsed_time)
]
