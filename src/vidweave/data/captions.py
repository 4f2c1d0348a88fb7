"""Video captioning: MSVD, MSRVTT and YouCook2, one example per clip with all its captions as references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.forms import KEY, keyed_rows
from vidweave.data.jsonl import read_json
from vidweave.data.open_answers import video_layout
from vidweave.data.schema import Example, named

__all__ = ["MSRVTTCaptions", "MSVDCaptions", "YouCook2Captions"]

QUESTION = "what does the video describe?"


@dataclass(frozen=True, kw_only=True)
class _Captions(Dataset):
    """MA-LMM's files (an object per caption), or references in COCO's format (``{"annotations": [{image_id, caption}]}``).

    Attributes:
        per_caption: Make one example per caption, for training, instead of one per clip.
    """

    folder_fps = 10.0
    per_caption: bool = False

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over clips in order of first appearance, each with the list of its captions."""
        if self.per_caption:
            for where, row in self._captions():
                yield where, {**row, "captions": [row.get("caption", "")], "name": row.get("id", row.get(KEY))}
            return
        clips: dict[str, tuple[str, dict[str, Any]]] = {}
        for where, row in self._captions():
            name = self._clip_name(row)
            clips.setdefault(name, (where, {**row, "name": name, "captions": []}))[1]["captions"].append(row["caption"])
        yield from clips.values()

    def _captions(self) -> Iterator[tuple[str, Row]]:
        path = Path(self.data)
        content = read_json(path) if path.suffix.lower() == ".json" else None
        if isinstance(content, dict) and isinstance(content.get("annotations"), list):
            for number, row in enumerate(content["annotations"]):
                yield f"{path.name}, annotation {number}", {"video": row["image_id"], **row}
            return
        yield from keyed_rows(path)

    @staticmethod
    def _clip_name(row: Row) -> str:
        return str(row.get("segment", row["video"]))

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a clip with its captions; a clip whose captions are empty is unlabeled."""
        video = str(row["video"])
        captions = [text for text in row["captions"] if text.strip()]
        common: dict[str, Any] = {
            "id": str(row["name"]),
            "query": named(video, QUESTION),
            "media": video,
            "span": cls.span(row),
        }
        if not captions:
            return Example(**common, answer="", is_labeled=False)
        return Example(**common, answer=captions[0], answers=tuple(captions))

    @classmethod
    def span(cls, row: Row) -> tuple[float, float] | None:
        """Return the described span of the video; None for the whole video."""
        return None


@dataclass(frozen=True, kw_only=True)
class MSVDCaptions(_Captions):
    """Captions of MSVD."""

    name: ClassVar[str] = "msvd-caption"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "YouTubeClips")


@dataclass(frozen=True, kw_only=True)
class MSRVTTCaptions(_Captions):
    """Captions of MSRVTT."""

    name: ClassVar[str] = "msrvtt-caption"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "videos/all", "TrainValVideo", "TestVideo")


@dataclass(frozen=True, kw_only=True)
class YouCook2Captions(_Captions):
    """Captions of YouCook2's steps, by segment ``<video>_<start>_<end>``. Captions of the test split are not public."""

    name: ClassVar[str] = "youcook2-caption"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "videos/validation", "videos/val")

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a segment with its caption; in COCO's format, the name contains the times."""
        if "segment" in row or "start_time" in row:
            return super().parse(row)
        video, start, end = str(row["video"]).rsplit("_", 2)
        return super().parse({**row, "video": video, "start_time": float(start), "end_time": float(end)})

    @classmethod
    def span(cls, row: Row) -> tuple[float, float] | None:
        """Return the segment, clamped to the video."""
        return max(0.0, float(row["start_time"])), min(
            float(row["end_time"]), float(row.get("duration", row["end_time"]))
        )
