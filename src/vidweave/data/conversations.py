"""Instruction data sets: Video-ChatGPT's questions, and conversations in LLaVA's format (LLaVA, Valley)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import VIDEO_SUFFIXES, Dataset, Row
from vidweave.data.forms import KEY, keyed_rows
from vidweave.data.own_rows import check_inside, fields_of
from vidweave.data.schema import Example, named

__all__ = ["InstructData", "VideoChatGPT"]


@dataclass(frozen=True, kw_only=True)
class VideoChatGPT(Dataset):
    """Video-ChatGPT's instruction data (a question and an answer per row), or the questions of its benchmark.

    Ids are video ids and repeat; the base class makes them unique.
    """

    name: ClassVar[str] = "video-chatgpt"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": (
            *(f"{{root}}/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
            *(f"{{root}}/videochatgpt_tune/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
        ),
    }

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of a list, or of an object keyed by index."""
        return keyed_rows(Path(self.data))

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``q, a, video_id``, or ``Q, A, video_name`` of the benchmark."""
        is_benchmark = "video_name" in row
        video = str(row["video_name"] if is_benchmark else row["video_id"])
        question, answer = (row["Q"], row["A"]) if is_benchmark else (row["q"], row["a"])
        return Example(id=str(row.get(KEY, video)), query=named(video, question), answer=answer, media=video)


@dataclass(frozen=True, kw_only=True)
class InstructData(Dataset):
    """Conversations in LLaVA's format about images and videos; the last question of each becomes an example.

    Text-only conversations (marked by `model`) are excluded.
    """

    name: ClassVar[str] = "instruct"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {"video": ("{root}/{name}",), "image": ("{root}/{name}",)}

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows that have media."""
        for where, row in super().rows():
            if "model" not in row or "video" in row or "image" in row:
                yield where, row

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``id, video | image, conversations``."""
        fields = fields_of({**row, "conversations": row["conversations"]})
        kinds = [kind for kind in ("video", "image") if kind in fields]
        if len(kinds) != 1:
            raise ValueError(f"expected either video or image, got {' and '.join(kinds) or 'none'}")
        media = fields[kinds[0]]
        check_inside(media)
        query = named(media, fields["question"], kind=kinds[0])
        return Example(
            id=str(fields.get("id", fields.get("idx", media))), query=query, answer=fields["answer"], media=media
        )

    def sources(self, example: Example) -> dict[str, Any]:
        """Return the file of an example, keyed by the modality that its row names."""
        kind = example.query.extra["kind"]
        source = self.source(kind, example.media)
        return {} if source is None else {kind: source}
