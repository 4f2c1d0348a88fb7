"""Files of a model folder, which may be hostile: regular files only, and bounded JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from vidweave.errors import CheckpointError

__all__ = ["read_json_mapping", "read_regular", "require_regular", "require_regular_files"]

# Real configurations and indices are far below; larger ones only cost memory and time.
MAX_JSON_BYTES = 16 << 20
MAX_JSON_DEPTH = 32
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def require_regular(file: Path) -> None:
    """Raise CheckpointError where `file`, or what it links to, would block or never end when it is read."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return  # whoever opens it tells that it is not there
    for is_kind, kind in _SPECIAL:
        if is_kind(mode):
            raise CheckpointError(f"{file} is {kind}; a model folder holds regular files only, copy its content to one")


def require_regular_files(folder: Path) -> None:
    """`require_regular` for every file that stands in `folder`: libraries open them by names of their own."""
    for entry in sorted(folder.iterdir()):
        require_regular(entry)


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read a whole regular file, following links.

    Raises:
        CheckpointError: a pipe, a socket or a device.
        OSError: what the system says.
        ValueError: more than `max_bytes`.
    """
    require_regular(file)
    # Not blocked by a pipe that takes the file's place between the look and the opening
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as opened:
        info = os.fstat(opened.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("it is no regular file")
        if info.st_size > max_bytes:
            raise ValueError(f"{info.st_size:,} bytes, at most {max_bytes:,} are read")
        return opened.read(max_bytes)


def read_json_mapping(file: Path) -> dict[str, Any]:
    """A mapping from a JSON file of a model folder.

    Raises:
        CheckpointError: no file, no regular file, one that is too large or nested too deep, or not a JSON mapping.
    """
    try:
        data = json.loads(read_regular(file, MAX_JSON_BYTES).decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"it holds a {type(data).__name__}, not a mapping")
        _check_depth(data)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file.parent} has no readable {file.name} ({error})") from error
    return data


def _check_depth(data: Any) -> None:
    level, depth = [data], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_JSON_DEPTH} levels")
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
