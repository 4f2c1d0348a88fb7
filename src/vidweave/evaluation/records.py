"""Record files: one JSON line per item, appended as answers arrive, so that an interrupted run can resume.

The first line is the manifest of the run (task, model, settings); a run with another manifest cannot use the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from vidweave.data.schema import Example
from vidweave.errors import RecordError
from vidweave.storage import Journal, changed_settings, read_journal
from vidweave.types import Answer

__all__ = ["Record", "RecordFile", "read_records"]

FORMAT = "vidweave evaluation records"
VERSION = 2
READABLE = (1, VERSION)  # version 1 did not record the media


@dataclass(frozen=True, kw_only=True)
class Record:
    """One answered item: the question, the media and the answer.

    Attributes:
        id, family, question, options, truth, facets: The item.
        prompt: Prompt of the language model, if the model reports it (`panels["prompt"]` of its trace).
        frames: Frames used: stream, index and timestamp in seconds of each.
        output: The answer's text.
        scores: Log-probability of each option, in the order of `options`; None if the model gave none.
        correct: Whether the output is correct.
        media: Content hashes of the media files (`evaluation.shown_media`): scene and modality → hash.
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
        """Build the record of one answered example; `media` as returned by `MediaHashes.of`."""
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
        """Build a record from JSON data; raises TypeError for anything but a mapping with exactly these fields."""
        if not isinstance(data, Mapping):
            raise TypeError(f"expected an object, got {data!r}")
        lists = {name: tuple(data.get(name, ())) for name in ("options", "frames", "scores")}
        return cls(**{**data, **lists})


class RecordFile:
    """A record file opened for appending; use it in a ``with`` block.

    An incomplete last line of a killed process is removed, and that item is answered again, so every finished item has
    exactly one record. The file is locked: only one process at a time may use it.

    Args:
        path: File path; created, with its folder, if it does not exist.
        manifest: JSON data that describes the run; must equal that of an existing file.

    Attributes:
        records: Item id → record, in the order of the file.

    Raises:
        RecordError: The file belongs to another run (the message lists the differences), is locked by another process,
            is damaged before its last line, or cannot be written.
    """

    def __init__(self, path: Path | str, manifest: Mapping[str, Any]) -> None:
        self.path = Path(path)
        manifest = _plain(manifest)
        self._journal = Journal(
            self.path,
            {"format": FORMAT, "version": VERSION, "manifest": manifest},
            check=lambda header: _check(header, manifest, self.path),
            parse=_once(Record.from_dict),
            error=RecordError,
            what="record file",
        )
        self.records: dict[str, Record] = {record.id: record for record in self._journal.rows}

    def add(self, records: Sequence[Record]) -> None:
        """Append records and flush them to disk.

        Raises:
            RecordError: An item is already recorded, or writing failed; then none of `records` is kept.
        """
        new = {record.id: record for record in records}
        repeated = sorted(new.keys() & self.records.keys())
        if repeated or len(new) < len(records):
            raise RecordError(f"{self.path}: {repeated[0] if repeated else 'an item'!r} would be recorded twice")
        self._journal.append([asdict(record) for record in records])
        self.records.update(new)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_records(path: Path | str) -> tuple[dict[str, Any], list[Record]]:
    """Read the manifest and the finished records of a file without changing it (an incomplete last line is skipped).

    Raises:
        RecordError: The file does not exist or is damaged.
    """
    path = Path(path)
    header, records = read_journal(path, parse=_once(Record.from_dict), error=RecordError, what="record file")
    _check_format(header, path)
    return header["manifest"], records


def _once(parse: Callable[[Mapping[str, Any]], Record]) -> Callable[[Mapping[str, Any]], Record]:
    """Wrap `parse` to raise ValueError for repeated items."""
    seen: set[str] = set()

    def parse_new(data: Mapping[str, Any]) -> Record:
        record = parse(data)
        if record.id in seen:
            raise ValueError(f"it repeats item {record.id!r}")
        seen.add(record.id)
        return record

    return parse_new


def _check_format(header: Mapping[str, Any], path: Path) -> None:
    named = (header.get("format"), header.get("version"))
    if named[0] != FORMAT or named[1] not in READABLE or "manifest" not in header:
        raise RecordError(
            f"{path} is not a record file (format {named[0]!r} version {named[1]!r}); move it away or use another name"
        )


def _check(header: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Check that the file belongs to this run; raises RecordError."""
    _check_format(header, path)
    changed = changed_settings(header["manifest"], now)
    if changed:
        differences = "; ".join(f"{name}: recorded {before!r}, now {after!r}" for name, before, after in changed)
        raise RecordError(
            f"{path} belongs to another run ({differences}); use another file, or delete it to start over"
        )
    if header["version"] != VERSION:
        raise RecordError(
            f"{path} was written by an older version, which did not record the media, so it "
            "cannot be resumed (it can still be compared); use another file"
        )


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Convert to the values that JSON restores."""
    try:
        return json.loads(json.dumps(manifest))
    except (TypeError, ValueError) as error:
        raise RecordError(f"the manifest of a run must be plain JSON data: {error}") from error
