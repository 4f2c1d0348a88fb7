"""Append-only files of JSON lines: a header line, then one line per finished row.

A line counts once it is complete. When a file is opened again, an incomplete last line left by a killed process is cut off,
so that every finished row is there exactly once. One process at a time holds the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from vidweave.errors import VidweaveError
from vidweave.storage.files import append_durably, is_disk_full
from vidweave.storage.lock import locked

__all__ = ["Journal", "changed_settings", "read_journal"]

Row = TypeVar("Row")


class Journal(Generic[Row]):
    """A journal that is open for appending; use it in a ``with`` block.

    Args:
        path: Created, with its folder, if it does not exist.
        header: Plain JSON data for the first line of a new file.
        check: Called with the first line of an existing file; raises if this run cannot use the file.
        parse: JSON object of a line → row; raises ValueError, TypeError or KeyError for invalid lines.
        error: Type of the errors that are raised.
        what: Kind of file, for messages.

    Attributes:
        rows: Rows in the file when it was opened, in order.

    Raises:
        error: the file is held by another process, fails `check`, is damaged before its last line, or cannot be used.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        *,
        check: Callable[[dict[str, Any]], None],
        parse: Callable[[dict[str, Any]], Row],
        error: type[VidweaveError],
        what: str,
    ) -> None:
        self.path, self._error, self._what = path, error, what
        self.rows: list[Row] = []
        busy = error(f"{path} is being written by another process; wait for it, or choose another {what}")
        with ExitStack() as stack, _reported(path, error, what):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path, busy))
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            stack.callback(os.close, self._descriptor)
            self._resume(header, check, parse)
            self._held = stack.pop_all()

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append JSON objects and force them to disk, all or none.

        Raises:
            error: the file system refused; the file is unchanged.
        """
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        with _reported(self.path, self._error, self._what):
            append_durably(self._descriptor, data)

    def close(self) -> None:
        """Release the file."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resume(
        self,
        header: Mapping[str, Any],
        check: Callable[[dict[str, Any]], None],
        parse: Callable[[dict[str, Any]], Row],
    ) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole:  # only truncate a file that is known to be a journal of this run
            _, self.rows = _parsed(data[:whole], self.path, parse, self._error, self._what, check)
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        if not whole:
            self.append([header])


def read_journal(
    path: Path, *, parse: Callable[[dict[str, Any]], Row], error: type[VidweaveError], what: str
) -> tuple[dict[str, Any], list[Row]]:
    """Read the first line and the finished rows of a journal without locking or changing it; skip a torn last line.

    Raises:
        error: the file does not exist, is empty, or is damaged.
    """
    with _reported(path, error, what):
        data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if not whole:
        raise error(f"{path} holds no lines yet; it should be a {what}")
    return _parsed(data[:whole], path, parse, error, what)


def changed_settings(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (dotted name, recorded value, value now) of every leaf that differs; a missing one is None."""
    before, after = dict(_leaves(recorded)), dict(_leaves(now))
    names = sorted({*before, *after})
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _parsed(
    data: bytes,
    path: Path,
    parse: Callable[[dict[str, Any]], Row],
    error: type[VidweaveError],
    what: str,
    check: Callable[[dict[str, Any]], None] = lambda header: None,
) -> tuple[dict[str, Any], list[Row]]:
    first, *rest = data.splitlines()
    try:
        header = json.loads(first)
        if not isinstance(header, dict):
            raise ValueError(f"its first line is a {type(header).__name__}")
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not a {what} ({problem}); move it away or use another name") from problem
    check(header)
    rows = []
    for number, line in enumerate(rest, start=2):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"expected an object, got {row!r}")
            rows.append(parse(row))
        except (ValueError, TypeError, KeyError, RecursionError) as problem:
            raise error(f"{path}:{number} is damaged ({problem}); delete that line to have it made again") from problem
    return header, rows


@contextmanager
def _reported(path: Path, error: type[VidweaveError], what: str) -> Iterator[None]:
    """Convert file system errors to the caller's error type."""
    try:
        yield
    except OSError as problem:
        if isinstance(problem, VidweaveError):
            raise
        advice = "; free some space and run again, what is recorded is kept" if is_disk_full(problem) else ""
        raise error(f"cannot use the {what} {path}: {problem.strerror or problem}{advice}") from problem
