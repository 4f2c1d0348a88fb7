"""Merge the record files of the parts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidweave.errors import RecordError
from vidweave.evaluation.records import Record, RecordFile, read_records
from vidweave.storage import changed_settings

__all__ = ["merge_records"]


def merge_records(files: Sequence[Path], out: Path) -> int:
    """Write the records of several files to a new file, and return their number.

    Raises:
        RecordError: `out` exists, files are from different runs, an item has two different answers, or a file is damaged.
    """
    if not files:
        raise RecordError("there are no record files to merge; give those of the parts")
    if out.exists():
        raise RecordError(f"{out} already exists; choose a new file")
    manifest, _ = read_records(files[0])
    merged: dict[str, tuple[Record, Path]] = {}
    for path in files:
        theirs, records = read_records(path)
        if changed := changed_settings(manifest, theirs):
            name, before, after = changed[0]
            raise RecordError(f"{files[0]} and {path} are from different runs ({name}: {before!r} and {after!r})")
        for record in records:
            known, where = merged.setdefault(record.id, (record, path))
            if known != record:
                raise RecordError(f"item {record.id!r} was answered differently in {where} and {path}; run it once")
    with RecordFile(out, manifest) as file:
        file.add([record for record, _ in merged.values()])
    return len(merged)
