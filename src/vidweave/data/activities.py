"""What is done in a video, as a class: Breakfast and COIN."""

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
SKIPPED = {  # the original leaves them out: their files are damaged
    "P28-cam01-P28_cereals",
    "P27-stereo-P27_milk_ch0",
    "P28-cam02-P28_cereals",
    "AfiVmAjfTNs",
    "cjwtcDKTQM8",
}


@dataclass(frozen=True, kw_only=True)
class _Activities(Dataset):
    """Rows by video; those that the original leaves out are left out and counted."""

    folder_fps = 10.0

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or changed."""
        skipped = len(self._skipped) if self._rows_read else 0
        text = f"{skipped} videos are left out as in the original, whose files are damaged or missing"
        return [*super().notes, *([text] * (skipped > 0))]

    @cached_property
    def _skipped(self) -> set[str]:
        return set()


@dataclass(frozen=True, kw_only=True)
class Breakfast(_Activities):
    """Breakfast: ten meals prepared in kitchens, in MA-LMM's form (an object by video)."""

    name: ClassVar[str] = "breakfast"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos", "BreakfastII_15fps_qvga_sync")

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Rows that the original keeps."""
        for where, row in keyed_rows(Path(self.data)):
            if row.get(KEY) in SKIPPED:
                self._skipped.add(row[KEY])
            else:
                yield where, row

    @classmethod
    def parse(cls, row: Row) -> Example:
        """An object ``class_name, duration, frame_length`` by video."""
        video = str(row[KEY])
        return Example(
            id=video, query=named(video, BREAKFAST_QUESTION), truth=row["class_name"], media=video, family="activity"
        )

    def source(self, modality: str, name: str) -> Any:
        """Source of a video, also as ``<person>/<camera>/<person>_<meal>.avi`` of the original folders."""
        found = super().source(modality, name)
        return found if found is not None else super().source(modality, name.replace("-", "/", 2))


@dataclass(frozen=True, kw_only=True)
class COIN(_Activities):
    """COIN: 180 tasks in videos of YouTube; the official file, or MA-LMM's.

    Attributes:
        split: Which videos of the one file.
    """

    name: ClassVar[str] = "coin"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos")
    split: Literal["train", "val"] = "val"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Rows of the split that the original keeps."""
        found = False
        for where, row in self._videos():
            if row.get("subset") not in _SUBSETS[self.split]:
                continue
            found = True
            lacks_frames = "num_frames_gt" in row and "num_frames_actual" not in row
            if row[KEY] in SKIPPED or lacks_frames:
                self._skipped.add(row[KEY])
            else:
                yield where, row
        if not found:
            raise AnnotationError(f"{self.data} holds no videos of split {self.split!r}")

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
        """An object ``subset, class`` by video, perhaps with MA-LMM's `target` and `domain`."""
        video = str(row[KEY])
        label = row["target"] if "target" in row else _spaced(row["class"])
        return Example(
            id=video,
            query=named(video, COIN_QUESTION),
            truth=label,
            media=video,
            family=str(row.get("domain", "activity")),
        )


_SUBSETS = {"train": ("train", "training"), "val": ("val", "validation", "testing")}


def _spaced(name: str) -> str:
    """``ReplaceCDDriveWithSSD`` → "replace cd drive with ssd"."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+", name)).lower()
