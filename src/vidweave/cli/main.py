"""The console script: runs one command, and turns whatever it raises into one line and an exit code.

Next to nothing is imported at the top, so that an interrupt is heard while the commands are still being imported.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from vidweave.cli.codes import INTERRUPTED

TYPE_CHECKING = False  # `typing` would be one more import before the first line that hears an interrupt
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to the process's own.

    Whatever is raised below it becomes one line on stderr: 2 for bad input and a command line that cannot be parsed, 1
    for every other fault, 130 for an interrupt; with ``--json``, an object ``{"error": …}`` on stdout as well. Anywhere in front of ``--``, ``--debug`` adds the traceback, and
    ``--import MODULE`` imports Python that registers names.
    """
    words, is_debug, modules = _without_globals(sys.argv[1:] if arguments is None else arguments)
    try:
        if modules:  # before the commands, which offer an option per modality
            from vidweave.cli.plugins import import_plugin

            for module in modules:
                import_plugin(module)
        from vidweave.cli.app import call

        return call(words, is_debug=is_debug)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        if _wants_json(words):  # written out, since no import may follow an interrupt
            print(f'{{"error": {{"type": "KeyboardInterrupt", "message": "interrupted", "exit_code": {INTERRUPTED}}}}}')
        return INTERRUPTED
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a user is told of every fault in a line
        from vidweave.cli.failures import report

        return report(error, is_debug=is_debug, as_json=_wants_json(words))


def main() -> None:
    """The console script."""
    try:
        for output in (sys.stdout, sys.stderr):
            if isinstance(output, TextIOWrapper):
                output.reconfigure(errors="backslashreplace")  # file names need not be text
        code = run()
        _let_go()
    except KeyboardInterrupt:  # a second one, while the first is told
        code = INTERRUPTED
    sys.exit(code)


def _without_globals(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """The arguments without the options of every command: whether ``--debug`` was there, and each ``--import MODULE``."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    modules: list[str] = []
    is_debug, given = False, iter(words[:end])
    for word in given:
        name, sign, value = word.partition("=")
        if word == "--debug":
            is_debug = True
        elif name == "--import" and (sign or (value := next(given, ""))):
            modules.append(value)
        else:
            kept.append(word)
    return kept + words[end:], is_debug, modules


def _wants_json(words: Sequence[str]) -> bool:
    """Whether ``--json`` stands in front of ``--``."""
    return "--json" in words[: words.index("--") if "--" in words else len(words)]


def _let_go() -> None:
    """Nothing is left to be written or tidied when the interpreter shuts down, where a fault would be a traceback."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # its reader left, or the disk is full; the command has said so
        sys.stdout = None
