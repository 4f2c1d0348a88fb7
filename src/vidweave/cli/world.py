"""`vidweave world`: clips and questions of the toy world as files, and a look at one scene."""

from __future__ import annotations

from typing import Annotated

import typer

from vidweave.cli.output import Json, show

__all__ = ["app", "make", "show_scene"]

app = typer.Typer(name="world", help="The toy world that the shipped tiny models know.", no_args_is_help=True)


@app.command("make")
def make(
    out: Annotated[str, typer.Option(help="Folder for the clips and questions.jsonl.")],
    seed: Annotated[int, typer.Option(min=0, help="Which world; two worlds share no scene.")] = 0,
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Write clips, and questions about them with their answers."""
    from vidweave.toyworld.files import write_world

    written = write_world(out, seed, clips)
    show(written, f"{clips} clips in {out}", as_json=as_json)


@app.command("show")
def show_scene(
    out: Annotated[str, typer.Option(help="PNG file.")] = "scene.png",
    seed: Annotated[int, typer.Option(min=0, help="Which scene.")] = 0,
    length: Annotated[str, typer.Option(help="short or long.")] = "short",
    as_json: Json = False,
) -> None:
    """Draw one scene in all modalities."""
    from vidweave.toyworld.draw import draw_scene

    draw_scene(out, seed, length=length)
    show({"out": out, "seed": seed}, out, as_json=as_json)
