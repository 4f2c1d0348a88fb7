"""A file of questions in our own form: the data set of whoever has clips and questions, and no format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.schema import Example
from vidweave.registry import MODALITIES
from vidweave.types import Clip, Query

__all__ = ["ExamplesFile"]

_KEYS = {"id", "question", "options", "answer", "answers", "type", "start", "end"}


@dataclass(frozen=True, kw_only=True)
class ExamplesFile(Dataset):
    """Questions as JSON lines, a JSON list or CSV.

    A row has `question`, `answer` (or a list `answers`) and one key per modality with a file (``video``, ``audio``, …),
    and may have `id`, `options` (in CSV: separated by "|"), `type`, and `start` and `end` in seconds. Files are relative
    to `media`, or to the file itself without it.
    """

    name: ClassVar[str] = "examples"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Rows of the file; one without an id has its number."""
        for number, (where, row) in enumerate(super().rows()):
            yield where, {"id": str(number), **{key: value for key, value in row.items() if value not in ("", None)}}

    @classmethod
    def parse(cls, row: Row) -> Example:
        """A row, about its files by name."""
        files = {name: row[name] for name in MODALITIES if name in row}
        strangers = sorted(set(row) - _KEYS - set(files))
        if strangers:
            raise ValueError(
                f"{', '.join(strangers)} is no field; fields are {', '.join(sorted(_KEYS))} and modalities"
            )
        if not files:
            raise ValueError("no file of a modality is named, e.g. video")
        for file in files.values():
            if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                raise ValueError(f"the file {file!r} lies outside the folder; give a path within it")
        options = row.get("options", ())
        options = tuple(options.split("|") if isinstance(options, str) else options)
        answers = tuple(row["answers"]) if "answers" in row else (row["answer"],)
        has_span = "start" in row or "end" in row
        return Example(
            id=str(row["id"]),
            query=Query.about(Clip(**files), row["question"], options),
            truth=answers[0],
            answers=answers,
            family=str(row.get("type", "all")),
            media=str(next(iter(files.values()))),
            span=(float(row.get("start", 0)), float(row["end"])) if has_span else None,
        )

    def sources(self, example: Example) -> dict[str, Any]:
        """Modality → file, of each file of an example that is there."""
        files = example.query.scenes[0].clip
        wanted = [name for name in files if not self.modalities or name in self.modalities]
        found = {name: self._file(files[name]) for name in wanted}
        return {name: path for name, path in found.items() if path is not None}

    def _file(self, name: str) -> str | None:
        roots = self.media or (Path(self.data).parent,)
        return next((str(path) for root in roots if (path := Path(root) / name).exists()), None)
