"""Question files in vidweave's format, for your own clips and questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.own_rows import answers_of, check_inside, fields_of, options_of
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError
from vidweave.registry import MODALITIES
from vidweave.types import Clip, Query

__all__ = ["ExamplesFile"]

_KEYS = {"id", "question", "options", "answer", "answers", "type", "start", "end", "subtitles"}


@dataclass(frozen=True, kw_only=True)
class ExamplesFile(Dataset):
    """Questions as JSON lines, a JSON list, CSV or Parquet; also conversations of LLaVA (`conversations`) and ms-swift
    (`messages`), where the last question is used.

    A row has `question` and one key per modality with a file (``video``, ``audio``, …). Optional keys are `id`, `options`
    (in CSV: separated by "|"), `answer` (a text, the index of an option from 0, or a list of these), `type`, `start` and
    `end` in seconds, and `subtitles`, which are prepended to the question. A row without an answer is not scored. Paths
    are relative to `media`, or to the question file if `media` is empty.
    """

    name: ClassVar[str] = "examples"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of the file; a row without an id gets its number."""
        for number, (where, row) in enumerate(super().rows()):
            try:
                yield where, {"id": str(number), **fields_of(row)}
            except ValueError as error:
                raise AnnotationError(f"{where}, cannot be read ({error}); see docs/datasets.md") from error

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a row; media files are named, not opened."""
        files = {name: row[name] for name in MODALITIES if name in row}
        unknown = sorted(set(row) - _KEYS - set(files))
        if unknown:
            raise ValueError(
                f"unknown field {', '.join(unknown)}; fields are {', '.join(sorted(_KEYS))} and modalities"
            )
        if not files:
            raise ValueError("a row needs a file of at least one modality, e.g. video")
        for file in files.values():
            check_inside(file)
        options = options_of(row.get("options", ()))
        given = row.get("answers", row.get("answer"))
        question = f"{row['subtitles']}\n{row['question']}" if "subtitles" in row else row["question"]
        has_span = "start" in row or "end" in row
        common: dict[str, Any] = {
            "id": str(row["id"]),
            "query": Query.about(Clip(**files), question, options),
            "question_type": str(row.get("type", "all")),
            "media": str(next(iter(files.values()))),
            "span": (float(row.get("start", 0)), float(row["end"])) if has_span else None,
        }
        if given is None:
            return Example(**common, answer="", is_labeled=False)
        answers, position = answers_of(given, options)
        return Example(**common, answer=answers[0], answers=answers, answer_index=position)

    def sources(self, example: Example) -> dict[str, Any]:
        """Map modalities to files, for the files of an example that exist."""
        files = example.query.scenes[0].clip
        modalities = [name for name in files if not self.modalities or name in self.modalities]
        paths = {name: self._file(files[name]) for name in modalities}
        return {name: path for name, path in paths.items() if path is not None}

    def _file(self, name: str) -> str | None:
        return next((str(path) for root in self._roots if (path := root / name).exists()), None)

    @property
    def _roots(self) -> tuple[Path, ...]:
        return tuple(map(Path, self.media)) or (Path(self.data).parent,)
