"""`vidweave toyworld`: write clips and questions of the toy world, and draw a scene."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from vidweave.cli.options import MAX_SEED
from vidweave.cli.output import Json, show
from vidweave.errors import ConfigError

__all__ = ["app", "make", "show_scene"]

app = typer.Typer(
    name="toyworld", help="The toy world that the shipped tiny models are trained on.", no_args_is_help=True
)

Length = Annotated[str, typer.Option(help="Clip length: short or long.")]


@app.command("make")
def make(
    out: Annotated[
        str, typer.Option(help="New or empty folder for the clips, questions.jsonl and examples.jsonl (own data).")
    ],
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the world; two worlds share no scene.")] = 0,
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 20,
    length: Length = "short",
    modality: Annotated[list[str] | None, typer.Option(help="Only this modality (and video); repeatable.")] = None,
    question_type: Annotated[list[str] | None, typer.Option(help="Only this question type; repeatable.")] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Height and width in pixels.")] = None,
    as_json: Json = False,
) -> None:
    """Write clips of unseen scenes, with questions and answers."""
    from vidweave.toyworld.files import write_toyworld

    options: dict[str, Any] = {} if size is None else {"size": size}
    if modality:
        options["modalities"] = tuple(dict.fromkeys(["video", *modality]))
    options["asked"] = tuple(question_type or ())
    report = write_toyworld(out, seed, clips, length=_length(length), progress=_with_bar, **options)
    data = {"out": report.folder, "seed": seed, "num_clips": report.num_clips, "num_questions": report.num_questions}
    text = f"{report.num_clips} clips and {report.num_questions} questions in {report.folder}"
    show(data, text, as_json=as_json)


@app.command("show")
def show_scene(
    out: Annotated[str, typer.Option(help="Output PNG file.")] = "scene.png",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the world; its first scene is drawn.")] = 0,
    length: Length = "short",
    as_json: Json = False,
) -> None:
    """Draw one scene in all modalities, with its caption and questions."""
    from vidweave.toyworld.draw import draw_scene
    from vidweave.toyworld.splits import scene_seeds

    scene_seed = scene_seeds(seed, 1)[0]
    draw_scene(out, scene_seed, length=_length(length))
    show({"out": out, "seed": seed, "scene_seed": scene_seed}, f"scene {scene_seed} drawn in {out}", as_json=as_json)


def _with_bar(scenes: list[Any]) -> Iterable[Any]:
    """Iterate over `scenes` with a progress bar if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(scenes, "writing clips", console=console, transient=True, disable=not console.is_terminal)


def _length(text: str) -> Any:
    if text not in ("short", "long"):
        raise ConfigError(f"--length must be short or long, got {text!r}")
    return text
