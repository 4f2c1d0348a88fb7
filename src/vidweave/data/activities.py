"""Activity classification in videos: Breakfast and COIN."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from vidweave.data.dataset import Dataset, Row
from vidweave.data.forms import KEY, keyed_rows
from vidweave.data.open_answers import video_layout
from vidweave.data.schema import Example, named
from vidweave.errors import AnnotationError

__all__ = ["COIN", "Breakfast"]

BREAKFAST_QUESTION = "what type of breakfast is shown in the video?"
COIN_QUESTION = "what is the activity in the video?"
SKIPPED = {  # excluded by the original: their files are damaged
    "P28-cam01-P28_cereals",
    "P27-stereo-P27_milk_ch0",
    "P28-cam02-P28_cereals",
    "AfiVmAjfTNs",
    "cjwtcDKTQM8",
}


@dataclass(frozen=True, kw_only=True)
class _Activities(Dataset):
    """Rows by video; rows that the original excludes are excluded and counted."""

    folder_fps = 10.0

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed rows."""
        skipped = len(self._skipped) if self._rows_read else 0
        text = f"{skipped} videos are excluded as in the original: their files are damaged or missing"
        return [*super().notes, *([text] * (skipped > 0))]

    @cached_property
    def _skipped(self) -> set[str]:
        return set()


@dataclass(frozen=True, kw_only=True)
class Breakfast(_Activities):
    """Breakfast: ten meals prepared in kitchens, in MA-LMM's format (an object keyed by video)."""

    name: ClassVar[str] = "breakfast"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "BreakfastII_15fps_qvga_sync")

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows that the original keeps."""
        for where, row in keyed_rows(Path(self.data)):
            if row.get(KEY) in SKIPPED:
                self._skipped.add(row[KEY])
            else:
                yield where, row

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``class_name, duration, frame_length``."""
        video = str(row[KEY])
        return Example(
            id=video,
            query=named(video, BREAKFAST_QUESTION),
            answer=row["class_name"],
            media=video,
            question_type="activity",
        )

    def source(self, modality: str, name: str) -> Any:
        """Find a video, also as ``<person>/<camera>/<person>_<meal>.avi`` in the original folders."""
        source = super().source(modality, name)
        return source if source is not None else super().source(modality, name.replace("-", "/", 2))


@dataclass(frozen=True, kw_only=True)
class COIN(_Activities):
    """COIN: 180 tasks in YouTube videos; from the official file or MA-LMM's.

    Attributes:
        split: Split of the videos to read; one file contains both.
    """

    name: ClassVar[str] = "coin"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos")
    split: Literal["train", "val"] = "val"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of the split that the original keeps."""
        has_rows = False
        for where, row in self._videos():
            if row.get("subset") not in _SUBSETS[self.split]:
                continue
            has_rows = True
            has_no_frames = "num_frames_gt" in row and "num_frames_actual" not in row
            if row[KEY] in SKIPPED or has_no_frames:
                self._skipped.add(row[KEY])
            else:
                yield where, row
        if not has_rows:
            raise AnnotationError(f"{self.data} contains no videos of split {self.split!r}")

    def _videos(self) -> Iterator[tuple[str, Row]]:
        for where, row in keyed_rows(Path(self.data)):
            if row.get(KEY) != "database":
                yield where, row
                continue
            for video, facts in row.items():
                if video != KEY:
                    yield f"{Path(self.data).name}, video {video!r}", {**facts, KEY: video}

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``subset, class``, optionally with MA-LMM's `target` and `domain`."""
        video = str(row[KEY])
        label = row["target"] if "target" in row else _spaced(row["class"])
        return Example(
            id=video,
            query=named(video, COIN_QUESTION),
            answer=label,
            media=video,
            question_type=str(row.get("domain", "activity")),
        )


_SUBSETS = {"train": ("train", "training"), "val": ("val", "validation", "testing")}


def _spaced(name: str) -> str:
    """Split camel case: ``ReplaceCDDriveWithSSD`` → "replace cd drive with ssd"."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+", name)).lower()
