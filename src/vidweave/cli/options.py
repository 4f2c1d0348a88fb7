"""Arguments and options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from vidweave.cli.amounts import parse_seconds
from vidweave.errors import ConfigError
from vidweave.loading import check_device, check_dtype
from vidweave.model.names import find_model
from vidweave.pipelines.frame_selection.check import check_frame_selector

__all__ = [
    "DEFAULT_MODEL",
    "MAX_SEED",
    "Adapter",
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
    "SelectorModel",
    "SelectorName",
    "Start",
    "checked_device",
    "checked_dtype",
    "checked_model",
    "checked_recipe",
    "chosen_selector",
    "chosen_selectors",
    "given_recipe",
    "parsed_duration",
    "parsed_time",
]

DEFAULT_MODEL = "tiny-base"  # shipped with the package, trained on the toy world only
MAX_SEED = 2**63 - 1  # limit of random number generators


# Run while the command line is parsed, so that a wrong name fails before torch is imported.
def checked_model(name: str | None) -> str | None:
    """Check that a model of this name exists."""
    if name is not None:
        find_model(name)
    return name


def checked_device(name: str | None) -> str | None:
    """Check that torch supports this device."""
    return None if name is None else check_device(name)


def checked_dtype(name: str | None) -> str | None:
    """Check that weights can have this dtype."""
    return None if name is None else check_dtype(name, also=("auto",))


def checked_recipe(command: str) -> Callable[[str | None], str | None]:
    """Return a check that `command` has a recipe of this name or path."""

    def check(recipe: str | None) -> str | None:
        from vidweave.types.recipe import find_recipe

        if recipe is not None:
            find_recipe(recipe, command)
        return recipe

    return check


def given_recipe(recipe: str | None) -> str:
    """Require RECIPE; it is optional only with --list."""
    if recipe is None:
        raise typer.BadParameter("RECIPE is missing; give a name (--list prints them) or the path of a Python file")
    return recipe


def chosen_selector(name: str | None, model: str | None) -> str | None:
    """`NAME:MODEL` from --selector and --selector-model, checked before torch is imported; None without --selector.

    Raises:
        ConfigError, UnknownNameError: a selector that does not exist, or a model that is missing, given twice or not taken.
    """
    if name is None:
        if model is not None:
            raise ConfigError("--selector-model needs --selector, e.g. --selector similarity")
        return None
    kind, source = check_frame_selector(name, model)
    return kind if source is None else f"{kind}:{source}"


def chosen_selectors(names: str | None, model: str | None) -> list[str]:
    """As `chosen_selector`, for names separated by commas; several have their models as NAME:MODEL.

    Raises:
        ConfigError, UnknownNameError: As `chosen_selector`; or --selector-model with several selectors.
    """
    parts = [] if names is None else names.split(",")
    if len(parts) > 1 and model is not None:
        raise ConfigError(
            "--selector-model belongs to one selector; give each its own, e.g. --selector uniform,similarity:MODEL"
        )
    chosen = [chosen_selector(part, model) for part in parts or [None]]
    return [selector for selector in chosen if selector is not None]


Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the recipe.")]
ListRecipes = Annotated[bool, typer.Option("--list", help="List the recipes that ship with vidweave.")]


def _choices(texts: list[str] | None) -> list[str] | None:
    """Reject a single option with commas: it should have been several options."""
    if texts is not None and len(texts) == 1:
        parts = [part.strip() for part in texts[0].split(",") if part.strip()]
        if len(parts) > 1:
            advice = " ".join(f"--option {part!r}" if " " in part else f"--option {part}" for part in parts[:4])
            raise typer.BadParameter(f"got one option, {texts[0]!r}; repeat --option for each: {advice}")
    return texts


def parsed_time(text: str) -> float:
    """Parse a time to seconds; the error names the option."""
    try:
        return parse_seconds(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def parsed_duration(text: str) -> float:
    """Parse a duration above 0 to seconds."""
    if (seconds := parsed_time(text)) <= 0:
        raise typer.BadParameter(f"it must be above 0, got {text!r}")
    return seconds


Choices = Annotated[list[str] | None, typer.Option(help="An answer option; repeatable.", callback=_choices)]
Device = Annotated[str | None, typer.Option(help="Device, e.g. cuda.", callback=checked_device)]
Dtype = Annotated[str | None, typer.Option(help="Dtype of the weights, e.g. bfloat16.", callback=checked_dtype)]
End = Annotated[
    float | None, typer.Option(help="End of the span: seconds, or 1:30.", metavar="TIME", parser=parsed_time)
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="Folder of a LoRA adapter of the language model (RUN/adapter of `vidweave train finetune stage=lora`)."
    ),
]
FeatureCache = Annotated[
    str | None, typer.Option(envvar="VIDWEAVE_CACHE", help="Folder that caches features of frozen encoders.")
]
FolderRate = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, help="Frame rate of folders and arrays of frames, which have no timestamps."),
]
ModelName = Annotated[
    str, typer.Option(help="A name from `vidweave models list`, a folder or a hub id.", callback=checked_model)
]
NumFrames = Annotated[int | None, typer.Option(min=1, help="Frames to sample (default: the model's own number).")]
SelectorName = Annotated[
    str | None,
    typer.Option(
        "--selector",
        metavar="NAME[:MODEL]",
        help="Choose frames with uniform, similarity:MODEL or ground:MODEL (`vidweave list frame_selectors`).",
    ),
]
SelectorModel = Annotated[
    str | None,
    typer.Option("--selector-model", metavar="MODEL", help="Dual encoder (CLIP, SigLIP): a folder or a hub id."),
]
Start = Annotated[
    float | None, typer.Option(help="Start of the span: seconds, or 1:30.", metavar="TIME", parser=parsed_time)
]
