"""Errors in Python that the user wrote: a recipe, or a module given with `--import`."""

from __future__ import annotations

import re
import site
import sysconfig
import traceback
from functools import cache
from pathlib import Path

__all__ = ["place_in_user_code"]

PACKAGE = Path(__file__).parents[1]
_IN_WORKER = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)


def place_in_user_code(error: BaseException) -> str:
    """File and line of the user's own code in which `error` was raised, e.g. ``own.py, line 3``; empty if in none.

    Code that the user's code called counts as the user's line. An error of a data worker carries its traceback as text.
    """
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    places += [(found["file"], int(found["line"])) for found in _IN_WORKER.finditer(_text(error))]
    return next((f"{_shown(file)}, line {line}" for file, line in reversed(places) if _is_of_user(file)), "")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an exception that cannot even be written
        return ""


def _is_of_user(file: str) -> bool:
    """Whether a file is neither vidweave's, nor Python's, nor an installed package's."""
    path = Path(file)
    return path.is_file() and not any(path.resolve().is_relative_to(folder) for folder in _foreign_folders())


@cache
def _foreign_folders() -> list[Path]:
    paths = sysconfig.get_paths()
    named = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [PACKAGE.resolve(), *(Path(folder).resolve() for folder in [*named, *site.getsitepackages()])]


def _shown(file: str) -> str:
    """A path below the working directory as the user would type it."""
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
