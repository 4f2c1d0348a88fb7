"""The `vidweave` command with all its subcommands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import typer

from vidweave import __version__
from vidweave.cli import (
    ask,
    cache,
    compare,
    compose,
    contra4,
    convert,
    data,
    doctor,
    evaluate,
    explain,
    extract,
    inspect,
    merge,
    models,
    pseudo_label,
    registered,
    select,
    stream,
    toyworld,
    train,
)
from vidweave.cli.codes import INTERRUPTED
from vidweave.cli.quiet import hush_libraries

__all__ = ["app", "call"]

app = typer.Typer(
    name="vidweave",
    help="Ask questions about videos with interchangeable model components.",
    epilog="Exit codes: 0 success, 1 a failed check or an internal error, 2 bad input, 130 interrupted. With --json, stdout is one "
    'JSON value; for an error, {"error": {"type", "message", "exit_code"}}.',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("ask")(ask.ask)
app.command("explain")(explain.explain)
app.add_typer(extract.app)
app.command("stream")(stream.stream)
app.command("select")(select.select)
app.command("inspect")(inspect.inspect)
app.command("compose")(compose.compose)
app.add_typer(models.app)
app.command("list")(registered.list_names)
app.add_typer(toyworld.app)
app.command("convert")(convert.convert)
app.command("train")(train.train)
app.command("pseudo-label")(pseudo_label.pseudo_label)
app.command("evaluate")(evaluate.evaluate)
app.command("merge")(merge.merge)
app.command("compare")(compare.compare)
app.add_typer(data.app)
app.add_typer(cache.app)
app.add_typer(contra4.app)
app.command("doctor")(doctor.doctor)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"vidweave {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the messages of libraries; may come last.")
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import a module or .py file that registers models, tasks, data sets, encoders …; repeatable, and "
            "may come last.",
        ),
    ] = None,
) -> None: ...


@lru_cache
def _command() -> Any:
    return typer.main.get_command(app)


def call(arguments: Sequence[str], *, is_debug: bool = False) -> int:
    """Parse `arguments`, run the command and return its exit code; exceptions propagate."""
    if not is_debug:
        hush_libraries()
    code = _command().main(args=list(arguments), prog_name="vidweave", standalone_mode=False)
    if code == INTERRUPTED:  # typer's translation of KeyboardInterrupt
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0
