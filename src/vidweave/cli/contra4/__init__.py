"""`vidweave contra4`: contrastive questions over several media; one file per command."""

import typer

from vidweave.cli.contra4 import croissant, doctor, evaluate, generate, stats

__all__ = ["app"]

app = typer.Typer(name="contra4", help="Contrastive questions over audio, video, images and 3D.", no_args_is_help=True)
app.command("stats")(stats.stats)
app.command("doctor")(doctor.doctor)
app.command("croissant")(croissant.croissant)
app.command("evaluate")(evaluate.evaluate)
app.command("generate")(generate.generate)
