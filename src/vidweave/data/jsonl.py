"""JSON-lines files written by others: read line by line, every complaint with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidweave.errors import AnnotationError, MediaNotFoundError

__all__ = ["expect", "read_jsonl"]

MAX_LINE_CHARS = 1_000_000


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per line that is not blank; `where` is ``FILE:LINE``, for messages.

    Raises:
        MediaNotFoundError: there is no such file.
        AnnotationError: a line that is not a JSON object, not UTF-8, or over-long.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), b""), start=1):
            where = f"{path}:{number}"
            if len(line) == MAX_LINE_CHARS:
                raise AnnotationError(f"{where}: the line is longer than {MAX_LINE_CHARS} bytes")
            if line.strip():
                yield where, _object(line, where)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected a JSON object, got {line[:40]!r}")
    return value


def expect(data: Mapping[str, Any], where: str, **types: type) -> list[Any]:
    """The named values of `data`, in order; raises AnnotationError for one that is missing or of another type."""
    for name, wanted in types.items():
        if name not in data:
            raise AnnotationError(f"{where}: {name!r} is missing; found {', '.join(sorted(data)) or 'nothing'}")
        if not isinstance(data[name], wanted):
            raise AnnotationError(f"{where}: {name!r} must be {wanted.__name__}, got {data[name]!r}")
    return [data[name] for name in types]
