"""LVU: seven classification tasks about movie scenes, split into clips as in MA-LMM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.forms import KEY, keyed_rows
from vidweave.data.lvu_clips import FPS, HISTORY_SECONDS, STRIDE_SECONDS, lvu_clips
from vidweave.data.open_answers import video_layout
from vidweave.data.schema import Example, named
from vidweave.errors import AnnotationError, MediaNotFoundError, UnknownNameError

__all__ = ["LVU", "LVU_LABELS"]

LVU_LABELS: Mapping[str, tuple[str, ...]] = {
    "relationship": ("friend", "husband wife", "boyfriend girlfriend", "ex-boyfriend ex-girlfriend"),
    "way_speaking": ("explain", "confront", "discuss", "teach", "threaten"),
    "scene": ("school", "office", "airport", "hotel", "prison", "restaurant"),
    "director": ("steven", "martin", "ron", "robert", "mark", "peter", "ridley", "quentin"),
    "writer": ("unknown", "ian", "stephen", "john", "david", "sylvester", "akiva"),
    "year": tuple(map(str, range(9))),
    "genre": ("action", "comedy", "romance", "thriller"),
}
REGRESSION = ("view_count", "like_ratio")


@dataclass(frozen=True, kw_only=True)
class LVU(Dataset):
    """LVU: MA-LMM's files (an object keyed by video), split into overlapping clips; or the original tables, whole videos.

    The original tables name classes by number; then these numbers are the answers.

    Attributes:
        task: relationship, way_speaking, scene, director, writer, year or genre.
        as_options: Use the task's classes as options scored by likelihood; then videos are scored by the sum of
            probabilities, as in LVU.
        history, stride: Length of a clip, and distance between the starts of two clips, in seconds.
    """

    name: ClassVar[str] = "lvu"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = video_layout("videos")
    folder_fps = float(FPS)

    task: str = field(default="relationship")
    as_options: bool = False
    history: int = HISTORY_SECONDS
    stride: int = STRIDE_SECONDS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task in REGRESSION:
            raise UnknownNameError(
                "classification task of LVU", self.task, LVU_LABELS, "(regression tasks are not supported)"
            )
        if self.task not in LVU_LABELS:
            raise UnknownNameError("task of LVU", self.task, LVU_LABELS)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the clips of the task."""
        path = Path(self.data)
        if path.suffix.lower() == ".csv":
            yield from self._original(path)
            return
        rows = {row[KEY]: (where, row) for where, row in keyed_rows(path) if self.task in row}
        if not rows:
            raise AnnotationError(f"{path} contains no video of task {self.task!r}")
        durations = {video: int(row["duration"]) for video, (_, row) in rows.items()}
        for clip in lvu_clips(durations, history=self.history, stride=self.stride):
            where, row = rows[clip.video]
            last = min(clip.end, (int(row["num_frames"]) - 1) / FPS) if "num_frames" in row else clip.end
            facts = {name: row[name] for name in ("duration", "num_frames") if name in row}
            yield where, {**facts, **self._row(clip.key, clip.video, str(row[self.task]), (clip.start, last))}

    def _original(self, path: Path) -> Iterator[tuple[str, Row]]:
        """Read the lines of ``<task>/<split>.csv``, split by whitespace: first the class, second from the right the video."""
        if not path.is_file():
            raise MediaNotFoundError(f"{path} does not exist")
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines[1:], start=2):
            words = line.split()
            if len(words) < 3:
                raise AnnotationError(f"{path.name}:{number}: expected a class and a video, got {line[:40]!r}")
            yield f"{path.name}:{number}", self._row(f"{words[-2]}_0", words[-2], words[0], None)

    def _row(self, key: str, video: str, label: str, span: tuple[float, float] | None) -> Row:
        options = LVU_LABELS[self.task] if self.as_options else ()
        return {"key": key, "video": video, "label": label, "task": self.task, "span": span, "options": options}

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a clip with its class."""
        video, task = row["video"], row["task"]
        question = f"what is the {task} of the movie?"
        return Example(
            id=row["key"],
            query=named(video, question, tuple(row["options"])),
            answer=row["label"],
            media=video,
            question_type=task,
            span=row["span"],
        )
