"""`vidweave contra4 generate`: generate contrastive questions from captioned media."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.options import ListRecipes, Overrides, checked_recipe, given_recipe
from vidweave.cli.output import Json, show, table
from vidweave.cli.quiet import narrate
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.contra4.pipeline import RunResult

__all__ = ["generate"]


def generate(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A shipped recipe such as contra4/toy, or a Python file.", callback=checked_recipe("contra4 generate")
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run (default: runs/RECIPE).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Rerun this stage and all later ones.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray workers (extra `scale`); 0 runs in this process.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster; starts a local one by default.")
    ] = None,
    lists: ListRecipes = False,
    as_json: Json = False,
) -> None:
    """Run RECIPE; rerun to resume an interrupted run."""
    if lists:
        from vidweave.cli.recipes import show_recipes

        show_recipes("contra4 generate", as_json=as_json)
        return
    recipe = given_recipe(recipe)
    from vidweave.contra4.pipeline import Pipeline, run
    from vidweave.types.recipe import read_recipe, run_folder

    narrate()
    make, settings = read_recipe(recipe, overrides or [])
    pipeline = make(**settings)
    if not isinstance(pipeline, Pipeline):
        raise ConfigError(
            f"recipe() in {recipe} must return a vidweave.contra4.pipeline.Pipeline, got {type(pipeline).__name__}"
        )
    folder = Path(out) if out else run_folder(recipe)
    result = run(pipeline, folder, start=start, until=until, executor=_executor(workers, address))
    show(_data(result), _text(result), as_json=as_json)


def _executor(workers: int, address: str | None) -> Any:
    if not workers:
        return None
    from vidweave.contra4.ray_workers import RayWorkers

    return RayWorkers(workers=workers, address=address)


def _data(result: RunResult) -> dict[str, Any]:
    from vidweave.contra4.pipeline import usage_of

    stages = [{key: value for key, value in entry.items() if key != "settings"} for entry in result.stages]
    made = {"questions": result.questions, "captions": result.captions}
    return {"out": result.folder, **made, "stages": stages, "usage": usage_of(result)}


def _text(result: RunResult) -> str:
    header = ("stage", "rows", "requests", "tokens in", "tokens out", "cost")
    rows = []
    for entry in result.stages:
        usage = entry.get("usage", {})
        counts = [usage.get(key, "-") for key in ("requests", "input_tokens", "output_tokens")]
        rows.append((entry["name"], entry.get("rows", "-"), *counts, f"{usage['cost']:.2f}" if usage else "-"))
    made = {"questions": result.questions, "captions": result.captions}
    done = next((f"{what} in {path}" for what, path in made.items() if path), f"stopped early, in {result.folder}")
    return f"{table(rows, header)}\n{done}"
