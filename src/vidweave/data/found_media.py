"""What is in a media folder that does not have the layout of a data set: for error messages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

__all__ = ["describe_found"]

MOST_ENTRIES = 20_000  # looked through per folder: a folder may hold millions of frames
_SHOWN = 3


def describe_found(roots: Iterable[Path], name: str) -> str:
    """Say where the recording `name` is below the folders, or what is in them instead."""
    return "; ".join(_describe(Path(root), name) for root in roots)


def _describe(root: Path, name: str) -> str:
    if not root.exists():
        return f"{root} does not exist"
    if not root.is_dir():
        return f"{root} is a file, not a folder"
    wanted = PurePosixPath(name).name
    spellings = {wanted, PurePosixPath(wanted).stem, wanted.replace(":", "_")}
    for entry in islice(_entries(root), MOST_ENTRIES):
        if entry.name in spellings or entry.stem in spellings:
            return f"found {entry.relative_to(root)} in {root}{_advice(root, entry, name)}"
    first = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in islice(root.iterdir(), MOST_ENTRIES))
    if not first:
        return f"{root} is empty"
    more = ", …" if len(first) > _SHOWN else ""
    return f"{root} has {', '.join(first[:_SHOWN])}{more}"


def _advice(root: Path, entry: Path, name: str) -> str:
    """Name the folder to give, if the path below it is that of the recording."""
    parents = PurePosixPath(name).parts[:-1]
    folder = entry.parent
    if parents and folder.parts[-len(parents) :] == parents:
        folder = folder.parents[len(parents) - 1]
    elif parents:
        return ""
    return "" if folder == root else f", so give media={folder}"


def _entries(root: Path) -> Iterator[Path]:
    """Walk below a folder, level by level."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in (*folders, *sorted(files)):
            yield Path(folder) / name
