"""The `vidweave` command: all verbs, and what their errors mean to the shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from vidweave import __version__
from vidweave.cli import (
    ask,
    cache,
    compare,
    contra4,
    convert,
    doctor,
    evaluate,
    explain,
    extract,
    inspect,
    models,
    pseudo_label,
    select,
    stream,
    train,
    world,
)
from vidweave.cli.quiet import hush_libraries
from vidweave.errors import InputError, VidweaveError

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="vidweave",
    help="Ask questions about videos, with parts that fit together.",
    epilog="Exit codes: 0 fine, 1 a failed check or a fault, 2 bad input, 130 interrupted.",
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
app.add_typer(models.app)
app.add_typer(world.app)
app.command("convert")(convert.convert)
app.command("train")(train.train)
app.command("pseudo-label")(pseudo_label.pseudo_label)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.add_typer(cache.app)
app.add_typer(contra4.app)
app.command("doctor")(doctor.doctor)

_INTERRUPTED = 130
# typer does not export the base of its usage errors; every version since 0.15 has it above BadParameter
_ClickError: type[Exception] = next(b for b in typer.BadParameter.__mro__ if b.__name__ == "ClickException")  # type: ignore[assignment]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidweave {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None: ...


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to the process's own.

    Bad input (InputError, or a command line that cannot be parsed) is one line on stderr and 2; our other errors and
    those of the operating system are one line and 1. Anything else is a bug and keeps its traceback.
    """
    hush_libraries()
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="vidweave", standalone_mode=False)
        if code == _INTERRUPTED:  # what typer makes of KeyboardInterrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout left, e.g. `| head`
        sys.stdout = None
        return 1
    except InputError as error:
        return _fail(str(error), 2)
    except _ClickError as error:
        return _fail_usage(error)
    except (VidweaveError, OSError) as error:
        return _fail(str(error), 1)


def main() -> None:
    """The console script."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # file names need not be text
    sys.exit(run())


def _fail(message: str, code: int) -> int:
    # One line whatever the message holds: a file name may carry line breaks or terminal escapes.
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message.replace("\n", " "))
    print(f"error: {line}", file=sys.stderr)
    return code


def _fail_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context else "", file=sys.stderr)
        return 2
    path = context.command_path if context else "vidweave"
    return _fail(f"{error.format_message().rstrip('.')}; see `{path} --help`", 2)  # type: ignore[attr-defined]
