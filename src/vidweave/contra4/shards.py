"""Files between stages: JSON-lines shards that are complete or absent, each with a report written before it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from vidweave.contra4.rows import Row
from vidweave.errors import PipelineError
from vidweave.storage.files import is_disk_full, write_atomically

__all__ = ["ShardFolder", "ShardReport", "put"]


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """Content and cost of a shard, identical in every run with the same seed."""

    rows: int
    sha256: str
    tally: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)


class ShardFolder:
    """Output of one stage: ``00000.jsonl``, … and a report ``00000.json`` for each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def report(self, index: int) -> ShardReport | None:
        """Return the report of a finished shard; None if it is absent or its checksum differs."""
        shard, report = self._shard(index), self._report(index)
        try:
            loaded = ShardReport(**json.loads(report.read_bytes()))
            return loaded if sha256(shard.read_bytes()).hexdigest() == loaded.sha256 else None
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def read(self, index: int) -> list[Row]:
        """Return the rows of a finished shard.

        Raises:
            PipelineError: the shard is missing or its checksum differs.
        """
        if self.report(index) is None:
            stage = self.path.name.partition("-")[2]
            raise PipelineError(
                f"{self._shard(index)} is not what was written there; recompute it and all later ones with --from {stage}"
            )
        return [json.loads(line) for line in self._shard(index).read_bytes().splitlines()]

    def write(
        self,
        index: int,
        rows: Sequence[Row],
        tally: Mapping[str, int] | None = None,
        usage: Mapping[str, float] | None = None,
    ) -> ShardReport:
        """Write a shard atomically, unless it exists; PipelineError if it cannot be written."""
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        report = ShardReport(
            rows=len(rows), sha256=sha256(data).hexdigest(), tally=dict(tally or {}), usage=dict(usage or {})
        )
        if self.report(index) != report:
            put(self._report(index), _json(asdict(report)))
            put(self._shard(index), data)
        return report

    def write_all(self, rows: Iterable[Row], rows_per_shard: int) -> Iterator[ShardReport]:
        """Write rows as they arrive, in as many shards as needed (at least one)."""
        source, index = iter(rows), 0
        while (part := list(islice(source, rows_per_shard))) or not index:
            yield self.write(index, part)
            index += 1

    def _shard(self, index: int) -> Path:
        return self.path / f"{index:05d}.jsonl"

    def _report(self, index: int) -> Path:
        return self.path / f"{index:05d}.json"


def put(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        PipelineError: the file system refused; the message gives advice.
    """
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "; free some space and run again, finished shards are kept" if is_disk_full(error) else ""
        raise PipelineError(f"cannot write {path}: {error.strerror}{advice}") from error


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1).encode() + b"\n"
