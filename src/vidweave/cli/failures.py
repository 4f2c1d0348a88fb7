"""Error reports: turn an exception into one line on stderr and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

import typer

from vidweave.cli.codes import BAD_INPUT, FAULT, INTERRUPTED
from vidweave.cli.output import show
from vidweave.cli.user_code import place_in_user_code
from vidweave.errors import InputError, VidweaveError

__all__ = ["one_line", "report"]

LONGEST_SURPRISE = 500  # characters of a foreign exception's message

# typer does not export the base of its usage errors; every version since 0.15 has it above BadParameter
_ClickError: type[Exception] = next(b for b in typer.BadParameter.__mro__ if b.__name__ == "ClickException")  # type: ignore[assignment]
# Bad paths: treated like our own MediaNotFoundError and MediaAccessError.
_WRONG_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError)


def report(error: BaseException, *, is_debug: bool = False, as_json: bool = False) -> int:
    """Print the message of `error`, after its traceback if `is_debug`, and return the exit code.

    Args:
        as_json: Print ``{"error": {"type", "message", "exit_code"}}`` on stdout, in addition to the line on stderr.
    """
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        return error.code if isinstance(error.code, int) else 0
    if is_debug:
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):  # the reader of stdout left, e.g. `| head`
        sys.stdout = None
        return FAULT
    if type(error).__name__ == "NoArgsIsHelpError":
        context = getattr(error, "ctx", None)
        print(context.get_help() if context else "", file=sys.stderr)
        message, code = "no command was given", BAD_INPUT
    else:
        message, code = _classify(error)
        print(f"error: {one_line(message)}", file=sys.stderr)
    if as_json:
        details = {"type": type(error).__name__, "message": one_line(message), "exit_code": code}
        show({"error": details}, "", as_json=True)
    return code


def one_line(message: str) -> str:
    """Escape `message` to one printable line: a file name may contain line breaks or terminal escapes."""
    words = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def _classify(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of `error`."""
    if _was_interrupted(error):
        return "interrupted", INTERRUPTED
    if isinstance(error, VidweaveError):
        is_path = isinstance(error.__cause__, _WRONG_PATH) and error.__cause__.filename is not None
        return str(error), BAD_INPUT if isinstance(error, InputError) or is_path else FAULT
    if isinstance(error, _ClickError):
        return _usage(error), BAD_INPUT
    if _is_out_of_memory(error):
        advice = "use fewer --frames, a smaller --batch-size or --dtype bfloat16, or free memory"
        return f"out of memory ({_shortened(error) or 'no further details'}); {advice}", FAULT
    place = place_in_user_code(error)
    if isinstance(error, OSError) and error.errno is not None:
        reason = (error.strerror or type(error).__name__) + (f" ({place})" if place else "")
        if error.filename is None:
            return f"operating system error: {reason}", FAULT
        is_path = isinstance(error, _WRONG_PATH) or error.errno == errno.EROFS
        return f"{error.filename!r} cannot be used: {reason}", BAD_INPUT if is_path else FAULT
    if isinstance(error, SystemExit):
        return str(error.code), FAULT
    if place:
        text = _shortened(error) or "without a message"
        return f"{place}: {type(error).__name__}: {text}; --debug shows the traceback", BAD_INPUT
    return (
        f"unexpected {type(error).__name__}: {_shortened(error) or 'without a message'}; please report it, "
        "with the output of --debug",
        FAULT,
    )


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether the cause is an interrupt: libraries wrap exceptions raised during their imports."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (KeyboardInterrupt, typer.Abort)):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or an accelerator ran out of memory; checked without importing torch."""
    names = {base.__name__ for base in type(error).__mro__}
    is_allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or is_allocator


def _shortened(error: BaseException) -> str:
    try:
        text = one_line(str(error))
    except Exception:  # noqa: BLE001  # an exception whose str() fails
        return ""
    return text if len(text) <= LONGEST_SURPRISE else text[:LONGEST_SURPRISE] + "…"


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "vidweave"
    return f"{error.format_message().rstrip('.')}; see `{path} --help`"
