"""The record of a run: one JSON line per item, appended as answers come, that a killed run takes up again.

The first line says what was run (task, model, settings); a run with anything else may not go on with the file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from vidweave.data.schema import Example
from vidweave.errors import RecordError
from vidweave.types import Answer

__all__ = ["Record", "RecordFile", "read_records"]

FORMAT = "vidweave evaluation records"
VERSION = 2
READABLE = (1, VERSION)  # version 1 did not say which media were shown


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was asked, what was shown, what came back.

    Attributes:
        id, family, question, options, truth, facets: The item.
        prompt: The text that the language model read, if the model tells (`panels["prompt"]` of its trace).
        frames: Pictures that were looked at: stream, index and time in seconds of each.
        output: The answer's text.
        scores: Log-probability of each option, in the order of `options`; None where the model gave none.
        correct: Whether the output is the truth.
        media: Files that were shown, by content (`evaluation.shown_media`): scene and modality → hash.
    """

    id: str
    family: str
    question: str
    options: tuple[str, ...]
    truth: str
    prompt: str | None
    frames: tuple[Mapping[str, Any], ...]
    output: str
    scores: tuple[float | None, ...]
    correct: bool
    facets: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Example, answer: Answer, *, correct: bool, media: Mapping[str, str] | None = None) -> Self:
        """The record of one answered example; `media` as `MediaHashes.of` gives them."""
        trace = answer.trace
        scores = {option.text: option.score for option in answer.options}
        frames = [asdict(use) for use in trace.frames] if trace else []
        panel = trace.panels.get("prompt") if trace else None
        return cls(
            id=example.id,
            family=example.family,
            question=example.query.text,
            options=tuple(example.query.options),
            truth=example.truth,
            prompt=panel if isinstance(panel, str) else None,
            frames=tuple({name: use[name] for name in ("stream", "index", "pts_seconds")} for use in frames),
            output=answer.text,
            scores=tuple(scores.get(option) for option in example.query.options),
            correct=correct,
            facets=dict(example.facets),
            media=dict(media or {}),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """JSON data back; raises TypeError for anything but a mapping with exactly these fields."""
        if not isinstance(data, Mapping):
            raise TypeError(f"expected an object, got {data!r}")
        lists = {name: tuple(data.get(name, ())) for name in ("options", "frames", "scores")}
        return cls(**{**data, **lists})


class RecordFile:
    """A record file that is open for appending; use it in a ``with`` block.

    What a killed process left of its last line is cut off: that item is asked again. So every finished item has
    exactly one record. One process at a time may hold the file.

    Args:
        path: Made, with its folder, if it does not exist.
        manifest: JSON data that says what is run; must equal that of the existing file.

    Attributes:
        records: Item id → record, in the order of the file.

    Raises:
        RecordError: the file is of another run (the message says what differs), is held by another process, is
            damaged before its last line, or cannot be written.
    """

    def __init__(self, path: Path | str, manifest: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.records: dict[str, Record] = {}
        with self._reporting():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            with self._reporting():
                self._lock()
                self._take_up(_plain(manifest))
        except BaseException:
            os.close(self._descriptor)
            raise

    def add(self, records: Sequence[Record]) -> None:
        """Append records and force them to disk.

        Raises:
            RecordError: an item that is recorded already; or the disk refused, then none of `records` is kept.
        """
        new = {record.id: record for record in records}
        repeated = sorted(new.keys() & self.records.keys())
        if repeated or len(new) < len(records):
            raise RecordError(f"{self.path}: {repeated[0] if repeated else 'an item'!r} would be recorded twice")
        with self._reporting():
            self._append([asdict(record) for record in records])
        self.records.update(new)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordError(
                f"{self.path} is being written by another process; wait for it, or use another file"
            ) from error

    def _take_up(self, manifest: dict[str, Any]) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole:
            version, recorded, self.records = _parse(data[:whole], self.path)
            _check_manifest(recorded, manifest, self.path)
            if version != VERSION:
                raise RecordError(
                    f"{self.path} was written by an older version, which did not record what media were shown, so it "
                    "cannot be continued (it can still be compared); use another file"
                )
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        if not whole:
            self._append([{"format": FORMAT, "version": VERSION, "manifest": manifest}])

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        size = os.fstat(self._descriptor).st_size
        view = memoryview(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def _reporting(self):
        return _Reporting(self.path)


class _Reporting:
    """Turns what the file system says into RecordError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "; free some space and run again, what is recorded is kept" if full else ""
            raise RecordError(f"cannot use the record file {self.path}: {error.strerror}{advice}") from error


def read_records(path: Path | str) -> tuple[dict[str, Any], list[Record]]:
    """The manifest and the finished records of a file, which stays as it is (a torn last line is left out).

    Raises:
        RecordError: there is no such file, or it is damaged.
    """
    path = Path(path)
    with _Reporting(path):
        data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if not whole:
        raise RecordError(f"{path} holds no records yet")
    _, manifest, records = _parse(data[:whole], path)
    return manifest, list(records.values())


def _parse(data: bytes, path: Path) -> tuple[int, dict[str, Any], dict[str, Record]]:
    """Version, manifest and records."""
    first, *rest = data.splitlines()
    try:
        header = json.loads(first)
        if header["format"] != FORMAT or header["version"] not in READABLE:
            raise ValueError(f"format {header['format']!r} version {header['version']!r}")
        version, manifest = header["version"], header["manifest"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is not a record file ({error}); move it away or use another name") from error
    records: dict[str, Record] = {}
    for number, line in enumerate(rest, start=2):
        try:
            record = Record.from_dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise RecordError(
                f"{path}:{number} is damaged ({error}); delete that line to have it asked again"
            ) from error
        if record.id in records:
            raise RecordError(f"{path}:{number} repeats item {record.id!r}; delete one of the two lines")
        records[record.id] = record
    return version, manifest, records


def _check_manifest(recorded: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    before, after = dict(_leaves(recorded)), dict(_leaves(now))
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if names:
        differences = "; ".join(f"{n}: recorded {before.get(n)!r}, now {after.get(n)!r}" for n in names)
        raise RecordError(
            f"{path} belongs to another run ({differences}); use another file, or delete it to start anew"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read back."""
    try:
        return json.loads(json.dumps(manifest))
    except (TypeError, ValueError) as error:
        raise RecordError(f"a run can only be described by plain JSON data: {error}") from error
