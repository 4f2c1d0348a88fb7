"""NExT-QA, and data sets in SeViLA's format of it: Touch-QA and Thermal-QA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import VIDEO_SUFFIXES, Row
from vidweave.data.jsonl import read_json
from vidweave.data.schema import Example
from vidweave.data.sevila import SevilaForm
from vidweave.errors import AnnotationError

__all__ = ["NextQA", "ThermalQA", "TouchQA"]

NUM_OPTIONS = 5


@dataclass(frozen=True, kw_only=True)
class NextQA(SevilaForm):
    """NExT-QA: five options per question; from the official CSV, or from SeViLA's JSON.

    Both formats give the same examples, with SeViLA's punctuation: a question ends with "?", an option with ".".

    Attributes:
        video_map: The file map_vid_vidorID.json: video → path in VidOR's folders (default: the one beside a CSV).
    """

    name: ClassVar[str] = "nextqa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": (
            "{root}/{name}",
            *(f"{{root}}/{{name}}{s}" for s in VIDEO_SUFFIXES),
            "{root}/{stem}.mp4",
            "{root}/NExTVideo/{stem}.mp4",
            "{root}/{stem}",
        ),
        "depth": ("{root}_depth/{name}",),
        "flow": ("{root}_flow/{name}",),
        "normals": ("{root}_norm/{name}",),
    }
    has_frame_fractions = True

    video_map: Path | None = None

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to SeViLA's."""
        for where, row in super().rows():
            yield where, (row if "num_option" in row or "qid" not in row else self._from_official(row))

    def _from_official(self, row: Row) -> Row:
        if "type" not in row or "video" not in row:
            return row
        options = {f"a{i}": f"{row[f'a{i}']}." for i in range(NUM_OPTIONS) if f"a{i}" in row}
        return {
            "video": self._video_paths.get(row["video"], row["video"]),
            "qid": f"{row['type']}_{row['video']}_{row['qid']}",
            "num_option": NUM_OPTIONS,
            "question": f"{row['question']}?",
            "answer": row.get("answer"),
            "frame_count": row.get("frame_count"),
            **options,
        }

    @cached_property
    def _video_paths(self) -> dict[str, str]:
        beside = Path(self.data).with_name("map_vid_vidorID.json")
        path = self.video_map or (beside if beside.is_file() else None)
        paths = {} if path is None else read_json(Path(path))
        if not isinstance(paths, dict):
            raise AnnotationError(f"{path} must map videos to paths, got a {type(paths).__name__}")
        return {str(video): str(relative) for video, relative in paths.items()}


@dataclass(frozen=True, kw_only=True)
class _Prepared(NextQA):
    """Rows with media prepared by the authors' tools: named by question id and trimmed to `start` and `end` (frames)."""

    folder_fps = 3.0

    @classmethod
    def parse(cls, row: Row) -> Example:
        name = row["qid"] if "qid" in row else row["question_id"]
        kept = {key: value for key, value in row.items() if key not in ("start", "end")}
        return super().parse({**kept, "qid": name, "video": name})


def _layout(modality: str) -> dict[str, tuple[str, ...]]:
    return {
        "video": ("{root}/video_frames/{name}", "{root}/clips/{name}.mp4"),
        modality: (f"{{root}}/{modality}_frames/{{name}}", f"{{root}}/{modality}_clips/{{name}}_touch.mp4"),
        "depth": ("{root}/depth_frames/{name}",),
        "normals": ("{root}/norm_frames/{name}",),
        "flow": ("{root}/flow_frames/{name}",),
    }


class TouchQA(_Prepared):
    """Touch-QA: questions about clips of Touch and Go."""

    name = "touch-qa"
    layout: ClassVar[Any] = _layout("touch")


class ThermalQA(_Prepared):
    """Thermal-QA: questions about clips of Thermal-IM."""

    name = "thermal-qa"
    layout: ClassVar[Any] = _layout("thermal")
