"""MUSIC-AVQA: questions about videos of music, whose templates are filled with instruments and places."""

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
    """MUSIC-AVQA, of either release (`json`, or the corrected `json_update`).

    Placeholders are filled in order; underscores of an answer become spaces, and the answer as it is written counts too.

    Attributes:
        legacy: `crema` fills templates as CREMA's released reader does, which writes the first value into every
            placeholder of a name: a quarter of the test questions lose their meaning, and published numbers and
            checkpoints were made so.
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
        """Rows with their templates; for `legacy` the templates are filled already."""
        for where, row in super().rows():
            yield where, self._filled_as_crema(row) if self.legacy else row

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or changed."""
        lost = sum(e.query.text != e.query.extra.get("in_order", e.query.text) for e in self._rows_read)
        return [
            *super().notes,
            *([f"{lost} questions are worded as CREMA's reader words them (legacy=crema)"] * (lost > 0)),
        ]

    @staticmethod
    def _filled_as_crema(row: Row) -> Row:
        try:
            template, values = row["question_content"], [str(v) for v in json.loads(row["templ_values"])]
            right = fill_in_order(template, values)
            return {**row, "question_content": fill_as_crema(template, values), "templ_values": "[]", "in_order": right}
        except (KeyError, ValueError, TypeError):
            return row  # what is wrong with it is said where rows are parsed

    @classmethod
    def parse(cls, row: Row) -> Example:
        """An object ``video_id, question_id, type, question_content, templ_values, anser`` (sic)."""
        template, values = row["question_content"], tuple(str(v) for v in json.loads(row["templ_values"]))
        question, written = fill_in_order(template, values), row["anser"]
        spaced = written.replace("_", " ")
        modality, kind = json.loads(row["type"])
        in_order = {"in_order": row["in_order"]} if "in_order" in row else {}
        return Example(
            id=str(row["question_id"]),
            query=named(str(row["video_id"]), question, template=template, values=values, **in_order),
            truth=spaced,
            answers=tuple(dict.fromkeys((spaced, written))),
            family=f"{modality} {kind}",
            media=str(row["video_id"]),
        )
