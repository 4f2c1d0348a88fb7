"""MUSIC-AVQA: questions about music videos, with templates filled with instruments and positions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from vidweave.data.dataset import Dataset, Row
from vidweave.data.music_avqa_text import fill_as_crema, fill_in_order
from vidweave.data.schema import Example, named

__all__ = ["MusicAVQA"]


@dataclass(frozen=True, kw_only=True)
class MusicAVQA(Dataset):
    """MUSIC-AVQA, both releases (`json`, and the corrected `json_update`).

    Placeholders are filled in order. Underscores of an answer become spaces; the original spelling is accepted too.

    Attributes:
        legacy: `crema` fills templates like CREMA's released reader, which puts the first value into all placeholders
            of the same name. A quarter of the test questions lose their meaning, but published numbers and checkpoints
            were produced this way.
    """

    name: ClassVar[str] = "music-avqa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/frame/{name}", "{root}/frames/{name}", "{root}/video/{name}.mp4", "{root}/{name}.mp4"),
        "audio": ("{root}/audio/{name}.wav", "{root}/audio/{name}.mp4", "{root}/{name}.wav"),
        "depth": ("{root}/depth/{name}",),
        "normals": ("{root}/norm/{name}",),
        "flow": ("{root}/flow/{name}",),
    }

    legacy: Literal["", "crema"] = ""
    folder_fps = 1.0

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows with their templates; with `legacy`, the templates are already filled."""
        for where, row in super().rows():
            yield where, self._filled_as_crema(row) if self.legacy else row

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed rows."""
        changed = sum(e.query.text != e.query.extra.get("in_order", e.query.text) for e in self._rows_read)
        return [
            *super().notes,
            *([f"{changed} questions are worded as in CREMA's reader (legacy=crema)"] * (changed > 0)),
        ]

    @staticmethod
    def _filled_as_crema(row: Row) -> Row:
        try:
            template, values = row["question_content"], [str(v) for v in json.loads(row["templ_values"])]
            correct = fill_in_order(template, values)
            return {
                **row,
                "question_content": fill_as_crema(template, values),
                "templ_values": "[]",
                "in_order": correct,
            }
        except (KeyError, ValueError, TypeError):
            return row  # `parse` reports the error

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``video_id, question_id, type, question_content, templ_values, anser`` (sic)."""
        template, values = row["question_content"], tuple(str(v) for v in json.loads(row["templ_values"]))
        question, written = fill_in_order(template, values), row["anser"]
        spaced = written.replace("_", " ")
        modality, kind = json.loads(row["type"])
        in_order = {"in_order": row["in_order"]} if "in_order" in row else {}
        return Example(
            id=str(row["question_id"]),
            query=named(str(row["video_id"]), question, template=template, values=values, **in_order),
            answer=spaced,
            answers=tuple(dict.fromkeys((spaced, written))),
            question_type=f"{modality} {kind}",
            media=str(row["video_id"]),
        )
