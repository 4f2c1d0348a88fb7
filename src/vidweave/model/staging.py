"""Write a folder atomically: under another name next to its final place, then rename it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidweave.errors import CheckpointError

__all__ = ["check_free", "staged_folder"]

SUFFIX = ".converting"


def check_free(out: Path) -> None:
    """Raise CheckpointError where `out` holds something, or where an interrupted conversion left its remains."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{str(out)!r} is not empty; give a new folder")
    partial = _partial(out)
    if partial.exists():
        raise CheckpointError(
            f"{str(partial)!r} was left by an interrupted conversion (or belongs to one that still runs); delete it, then convert again"
        )


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `out` at the end, and is removed on an exception.

    Raises:
        CheckpointError: as `check_free`.
    """
    check_free(out)
    partial = _partial(out)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(partial.with_name(partial.name.removesuffix(SUFFIX)))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _partial(out: Path) -> Path:
    whole = Path(os.path.realpath(out) if out.is_symlink() else os.path.abspath(out))
    return whole.with_name(whole.name + SUFFIX)
