"""`vidweave train`: run a training recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.options import ListRecipes, Overrides, checked_recipe, given_recipe, parsed_duration
from vidweave.cli.output import Json, show
from vidweave.cli.quiet import narrate
from vidweave.errors import UnknownNameError

__all__ = ["train"]


ACCELERATORS = ("cpu", "cuda", "auto")


def _checked_accelerator(name: str) -> str:
    if name not in ACCELERATORS:
        raise UnknownNameError("accelerator", name, ACCELERATORS)
    return name


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A shipped recipe such as merv/frozen, or a Python file.", callback=checked_recipe("train")
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[str | None, typer.Option(help="Folder for checkpoints and logs (default: runs/RECIPE).")] = None,
    lists: ListRecipes = False,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Total training time across interruptions, e.g. 5m or 1h30m.", metavar="TIME", parser=parsed_duration
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Refuse to resume an earlier run in the folder.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.", callback=_checked_accelerator)] = "cpu",
    as_json: Json = False,
) -> None:
    """Train RECIPE; rerun to resume an interrupted run."""
    if lists:
        from vidweave.cli.recipes import show_recipes

        show_recipes("train", as_json=as_json)
        return
    recipe = given_recipe(recipe)
    from vidweave.report.durations import format_seconds
    from vidweave.training import recipe_run
    from vidweave.training import train as run_training
    from vidweave.types.recipe import run_folder

    narrate()
    run = recipe_run(recipe, overrides or [])
    folder = Path(out) if out else run_folder(recipe)
    result = run_training(
        run, folder, budget_seconds=budget, resume=not fresh, devices=devices, accelerator=accelerator
    )
    data = {
        "run": run.name,
        "out": result.out,
        "elapsed_seconds": result.elapsed_seconds,
        "total_steps": result.total_steps,
        "losses": result.losses,
        "metrics": result.metrics,
        "finish": result.finish,
    }
    lines = [f"{run.name}: {result.total_steps} steps in {format_seconds(result.elapsed_seconds)}, in {result.out}"]
    lines += [f"{stage}: loss {loss:.4f}" for stage, loss in result.losses.items()]
    lines += [f"{stage}: {name} {value:.4f}" for stage, row in result.metrics.items() for name, value in row.items()]
    show(data, "\n".join(lines), as_json=as_json)
