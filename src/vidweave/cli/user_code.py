"""Errors in the user's Python code: a recipe, or a module given with `--import`."""

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
    """Find the file and line of user code that raised `error`, e.g. ``own.py, line 3``; empty if there is none.

    An error in code called by the user's code is reported at the user's line. Errors of data workers carry their
    traceback as text.
    """
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    places += [(match["file"], int(match["line"])) for match in _IN_WORKER.finditer(_text(error))]
    return next((f"{_shown(file)}, line {line}" for file, line in reversed(places) if _is_of_user(file)), "")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an exception whose str() fails
        return ""


def _is_of_user(file: str) -> bool:
    """Whether a file belongs to neither vidweave, Python nor an installed package."""
    path = Path(file)
    return path.is_file() and not any(path.resolve().is_relative_to(folder) for folder in _foreign_folders())


@cache
def _foreign_folders() -> list[Path]:
    paths = sysconfig.get_paths()
    named = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [PACKAGE.resolve(), *(Path(folder).resolve() for folder in [*named, *site.getsitepackages()])]


def _shown(file: str) -> str:
    """Shorten a path below the working directory to a relative path."""
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
