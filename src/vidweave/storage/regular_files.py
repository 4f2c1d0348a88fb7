"""Read files of a model folder, which may be hostile: regular files only, and JSON with limits."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from vidweave.errors import CheckpointError

__all__ = ["read_json_mapping", "read_regular", "require_regular", "require_regular_files"]

# Real configurations and indices are much smaller; larger ones only waste memory and time.
MAX_JSON_BYTES = 16 << 20
MAX_JSON_DEPTH = 32
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def require_regular(file: Path) -> None:
    """Raise CheckpointError if reading `file`, or its link target, would block or never end."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return  # the error for a missing file comes when it is opened
    for is_kind, kind in _SPECIAL:
        if is_kind(mode):
            raise CheckpointError(
                f"{file} is {kind}; a model folder may only contain regular files, copy its content to one"
            )


def require_regular_files(folder: Path) -> None:
    """Call `require_regular` for every file in `folder`: libraries open them by names of their own."""
    for entry in sorted(folder.iterdir()):
        require_regular(entry)


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read a whole regular file, following links.

    Raises:
        CheckpointError: a pipe, a socket or a device.
        OSError: the system refused.
        ValueError: more than `max_bytes`.
    """
    require_regular(file)
    # Does not block if a pipe replaces the file between the check and the open
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as opened:
        info = os.fstat(opened.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("it is not a regular file")
        if info.st_size > max_bytes:
            raise ValueError(f"{info.st_size:,} bytes, at most {max_bytes:,} are read")
        return opened.read(max_bytes)


def read_json_mapping(file: Path) -> dict[str, Any]:
    """Read a mapping from a JSON file of a model folder.

    Raises:
        CheckpointError: no file, not a regular file, one that is too large or nested too deep, or not a JSON mapping.
    """
    try:
        data = json.loads(read_regular(file, MAX_JSON_BYTES).decode("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"it contains a {type(data).__name__}, not a mapping")
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
