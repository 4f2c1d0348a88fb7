"""The console script: run one command, and turn exceptions into one line and an exit code.

Almost nothing is imported at the top, so that an interrupt is handled while the commands are being imported.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from vidweave.cli.codes import INTERRUPTED

TYPE_CHECKING = False  # importing `typing` would delay the interrupt handling
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to ``sys.argv[1:]``.

    Every exception becomes one line on stderr. The exit code is 2 for bad input and invalid command lines, 130 for an
    interrupt and 1 for all other errors. ``--json`` also prints ``{"error": …}`` on stdout. Anywhere before ``--``,
    ``--debug`` adds the traceback, and ``--import MODULE`` imports Python code that registers names.
    """
    words, is_debug, modules = _without_globals(sys.argv[1:] if arguments is None else arguments)
    try:
        if modules:  # before the commands, which have one option per modality
            from vidweave.cli.plugins import import_plugin

            for module in modules:
                import_plugin(module)
        from vidweave.cli.app import call

        return call(words, is_debug=is_debug)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        if _wants_json(words):  # written by hand: no import may follow an interrupt
            print(f'{{"error": {{"type": "KeyboardInterrupt", "message": "interrupted", "exit_code": {INTERRUPTED}}}}}')
        return INTERRUPTED
    except (Exception, SystemExit) as error:  # noqa: BLE001  # every error is reported in one line
        from vidweave.cli.failures import report

        return report(error, is_debug=is_debug, as_json=_wants_json(words))


def main() -> None:
    """Run the console script."""
    try:
        for output in (sys.stdout, sys.stderr):
            if isinstance(output, TextIOWrapper):
                output.reconfigure(errors="backslashreplace")  # file names need not be text
        code = run()
        _finish_output()
    except KeyboardInterrupt:  # a second interrupt while the first is reported
        code = INTERRUPTED
    sys.exit(code)


def _without_globals(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Split off the global options: the other arguments, whether ``--debug`` is there, and each ``--import MODULE``."""
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
    """Whether ``--json`` comes before ``--``."""
    return "--json" in words[: words.index("--") if "--" in words else len(words)]


def _finish_output() -> None:
    """Flush stdout now: an error during the interpreter's shutdown would print a traceback."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # the reader left or the disk is full; already reported
        sys.stdout = None
