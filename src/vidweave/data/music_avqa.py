"""MUSIC-AVQA: questions about videos of music, whose templates are filled with instruments and places."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.schema import Example, named

__all__ = ["MusicAVQA"]

_PLACEHOLDER = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, kw_only=True)
class MusicAVQA(Dataset):
    """MUSIC-AVQA, of either release (`json`, or the corrected `json_update`).

    Placeholders are filled in order; underscores of an answer become spaces, and the answer as it is written counts too.
    """

    name: ClassVar[str] = "music-avqa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/frame/{name}", "{root}/video/{name}.mp4", "{root}/{name}.mp4"),
        "audio": ("{root}/audio/{name}.wav", "{root}/audio/{name}.mp4", "{root}/{name}.wav"),
        "depth": ("{root}/depth/{name}",),
        "normals": ("{root}/norm/{name}",),
        "flow": ("{root}/flow/{name}",),
    }

    @classmethod
    def parse(cls, row: Row) -> Example:
        """An object ``video_id, question_id, type, question_content, templ_values, anser`` (sic)."""
        template, values = row["question_content"], tuple(str(v) for v in json.loads(row["templ_values"]))
        question, written = template, row["anser"]
        for value in values:
            question = _PLACEHOLDER.sub(lambda _, v=value: v, question, count=1)
        spaced = written.replace("_", " ")
        modality, kind = json.loads(row["type"])
        return Example(
            id=str(row["question_id"]),
            query=named(str(row["video_id"]), question.strip(), template=template, values=values),
            truth=spaced,
            answers=tuple(dict.fromkeys((spaced, written))),
            family=f"{modality} {kind}",
            media=str(row["video_id"]),
        )
