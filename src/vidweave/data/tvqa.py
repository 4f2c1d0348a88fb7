"""TVQA and VLEP: questions about scenes of TV series (and, for VLEP, of YouTube clips)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from vidweave.data.dataset import VIDEO_SUFFIXES, Row
from vidweave.data.sevila import SevilaForm
from vidweave.errors import AnnotationError

__all__ = ["TVQA", "VLEP"]

NUM_OPTIONS = 5
SHOWS = ("friends", "castle", "house", "grey", "met")  # prefixes of clip names; The Big Bang Theory has none
VLEP_QUESTION = "What is the most probable subsequent event?"
TV_SUFFIX = "_ep"  # of clip names in VLEP; TVQA's files do not have it


@dataclass(frozen=True, kw_only=True)
class TVQA(SevilaForm):
    """TVQA: five options per question; the official JSON lines, or SeViLA's format. The public test split has no answers.

    Attributes:
        bad_spans: How to handle a row whose span is NaN or ends before it starts: `refuse` raises, `whole` uses the
            whole clip and adds a note.
    """

    name: ClassVar[str] = "tvqa"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": (
            *(f"{{root}}/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
            "{root}/videos_3fps_with_audio/{name}.mp4",
            "{root}/{name}",
            *(f"{{root}}/{show}_frames/{{name}}" for show in ("bbt", *SHOWS)),
            *(f"{{root}}/frames_hq/{show}_frames/{{name}}" for show in ("bbt", *SHOWS)),
        ),
    }
    may_lack_answers = True
    folder_fps = 3.0

    bad_spans: Literal["refuse", "whole"] = "refuse"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to SeViLA's; ids contain the official question id."""
        for where, row in super().rows():
            yield where, self._checked(self._from_official(row) if "vid_name" in row else row, where)

    @property
    def notes(self) -> list[str]:
        """Notes about changed rows."""
        if not self._rows_read or not self._whole:
            return super().notes
        first = self._whole[0]
        text = f"{len(self._whole)} rows have no valid span (the first is {first}): the whole clip is used"
        return [*super().notes, text]

    @cached_property
    def _whole(self) -> list[str]:
        return []

    def _checked(self, row: Row, where: str) -> Row:
        start, end = (float(row.get(name, math.nan)) for name in ("start", "end"))
        if "start" not in row or 0 <= start < end < math.inf:
            return row
        if self.bad_spans == "refuse":
            raise AnnotationError(
                f"{where}, question {row['qid']}: {start:g} to {end:g} is not a valid span; give bad_spans=whole to use "
                "the whole clip"
            )
        self._whole.append(str(row["qid"]))
        return {name: value for name, value in row.items() if name not in ("start", "end")}

    @staticmethod
    def _from_official(row: Row) -> Row:
        start, _, end = str(row["ts"]).partition("-")
        return {
            "video": row["vid_name"],
            "qid": f"TVQA_{row['qid']}",
            "type": row.get("show_name", "TVQA"),
            "num_option": NUM_OPTIONS,
            "question": row["q"],
            "answer": row.get("answer_idx"),
            "start": start,
            "end": end,
            **{f"a{i}": row[f"a{i}"] for i in range(NUM_OPTIONS)},
        }


@dataclass(frozen=True, kw_only=True)
class VLEP(SevilaForm):
    """VLEP: predict which of two events comes next; the official JSON lines, or SeViLA's format. The test split has no answers.

    Names with a colon are YouTube clips; others are TVQA clips, whose files lack the suffix "_ep".
    """

    name: ClassVar[str] = "vlep"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": (
            *(f"{{root}}/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
            "{root}/videos_3fps_with_audio/{name}.mp4",
            "{root}/{name}",
            "{root}/vlep_frames/{name}",
        ),
    }
    may_lack_answers = True
    folder_fps = 3.0

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to SeViLA's; a question is added, since the data has none."""
        for where, row in super().rows():
            yield where, self._from_official(row) if "events" in row else {"question": VLEP_QUESTION, **row}

    @staticmethod
    def _from_official(row: Row) -> Row:
        name = str(row["vid_name"])
        start, end = row["ts"]
        return {
            "video": name if ":" in name else name.removesuffix(TV_SUFFIX),
            "qid": f"VLEP_{row['example_id']}",
            "type": "YouTube" if ":" in name else "TV",
            "num_option": len(row["events"]),
            "question": VLEP_QUESTION,
            "answer": row.get("answer"),
            "start": start,
            "end": end,
            **{f"a{i}": event for i, event in enumerate(row["events"])},
        }
