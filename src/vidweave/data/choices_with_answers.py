"""Multiple choice in MERV's form, questions and answers in two files: Perception Test and SSv2-MCQ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from vidweave.data.dataset import VIDEO_SUFFIXES, Dataset, Row
from vidweave.data.forms import joined_rows
from vidweave.data.jsonl import read_json
from vidweave.data.schema import Example, named
from vidweave.errors import AnnotationError
from vidweave.media.open import open_source
from vidweave.types import Clip

__all__ = ["PerceptionTest", "SSv2Choices"]

_VIDEO = {
    "video": (
        *(f"{{root}}/videos/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
        *(f"{{root}}/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
        "{root}/videos/{name}",
        "{root}/{name}",
    ),
}


@dataclass(frozen=True, kw_only=True)
class _MervChoices(Dataset):
    """Rows ``video_name, question_id, question, options``, perhaps ``end_frame`` and ``time``, with ``answer_id``.

    Attributes:
        answers: The file of answers; found beside ``test_q.json`` if left out. Without one nothing is scored.
    """

    layout: ClassVar[Mapping[str, tuple[str, ...]]] = _VIDEO
    answers: Path | None = None

    @classmethod
    def parse(cls, row: Row) -> Example:
        """A question of MERV's form, with its answer if it has one."""
        options = tuple(row["options"])
        end_frame = {} if row.get("end_frame") is None else {"end_frame": int(row["end_frame"])}
        common: dict[str, Any] = {
            "id": str(row["question_id"]),
            "query": named(str(row["video_name"]), row["question"], options, **end_frame),
            "media": str(row["video_name"]),
            "family": str(row.get("area", "all")),
            "facets": {name: str(row[name]) for name in ("reasoning",) if name in row},
            "span": tuple(map(float, row["time"])) if "time" in row else None,
        }
        if row.get("answer_id") is None:
            return Example(**common, truth="", is_labeled=False)
        position = int(row["answer_id"])
        if not 0 <= position < len(options):
            raise ValueError(f"answer is {position}, expected 0 to {len(options) - 1}")
        return Example(**common, truth=options[position], answer_index=position)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Questions with their answers, joined by id."""
        return joined_rows(Path(self.data), self.answers)


@dataclass(frozen=True, kw_only=True)
class PerceptionTest(_MervChoices):
    """Perception Test, three options per question: the official annotations, or MERV's form.

    Questions are about a video up to its cut frame, since what follows gives the answer away. In the official form the
    cut frames are in a file of their own.

    Attributes:
        cut_frames: The file cut_frame_mapping_*.json: video → frame; found beside the annotations if left out. Videos
            without a cut frame are shown whole, and counted in a note: their scores are too high.
    """

    name: ClassVar[str] = "perception-test"
    cut_frames: Path | None = None

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Questions of either form, in MERV's."""
        for where, row in super().rows():
            if "mc_question" in row:
                yield from self._from_official(row, where)
            else:
                yield where, row

    def clip(self, example: Example) -> Clip | None:
        """The clip of an example, up to its cut frame."""
        clip, last = super().clip(example), example.query.extra.get("end_frame")
        if clip is None or last is None or "video" not in clip:
            return clip
        with open_source(clip["video"], "video", fps=clip.fps) as source:
            times, _ = source.timeline()
        settings = {**clip.settings, "end_seconds": float(times[min(last, len(times) - 1)])}
        return Clip(**dict(clip), **settings) if settings["end_seconds"] > 0 else clip

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or changed."""
        whole = sum("end_frame" not in example.query.extra for example in self._rows_read)
        text = f"{whole} questions have no cut frame: their videos are shown whole, which gives answers away"
        return [*super().notes, *([text] * (whole > 0))]

    def _from_official(self, row: Row, where: str) -> Iterator[tuple[str, Row]]:
        facts = row["metadata"]
        video = facts["video_id"]
        cut = {} if video not in self._cuts else {"end_frame": self._cuts[video]}
        for number, question in enumerate(row["mc_question"]):
            kept = {name: question[name] for name in ("question", "options", "area", "reasoning") if name in question}
            answer = {} if question.get("answer_id") is None else {"answer_id": question["answer_id"]}
            yield (
                f"{where}, question {number}",
                {"video_name": video, "question_id": f"{video}_{question.get('id', number)}", **kept, **answer, **cut},
            )

    @cached_property
    def _cuts(self) -> dict[str, int]:
        beside = sorted(Path(self.data).parent.glob("cut_frame_mapping_*.json"))
        paths = [Path(self.cut_frames)] if self.cut_frames is not None else beside
        cuts: dict[str, int] = {}
        for path in paths:
            found = read_json(path)
            if not isinstance(found, dict):
                raise AnnotationError(f"{path} must map videos to frames, got a {type(found).__name__}")
            cuts |= {str(video): int(frame) for video, frame in found.items()}
        return cuts


@dataclass(frozen=True, kw_only=True)
class SSv2Choices(_MervChoices):
    """Something-Something v2 as multiple choice: MERV's form, or five templates drawn for each official label.

    The files of MERV's study are not public. From `something-something-v2-*.json` this reader makes questions of the
    same kind, the right template and four others by chance, and says so: their scores are comparable among themselves.

    Attributes:
        seed: Of the draw.
    """

    name: ClassVar[str] = "ssv2-mcq"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/{name}.webm", "{root}/20bn-something-something-v2/{name}.webm", *_VIDEO["video"])
    }
    seed: int = 0

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Questions of MERV's form, or drawn ones."""
        found = list(super().rows())
        templates = sorted({row["template"] for _, row in found if "template" in row})
        for where, row in found:
            if "template" not in row:
                yield where, row
            elif len(templates) < NUM_OPTIONS:
                raise AnnotationError(f"{where}: {NUM_OPTIONS} templates are needed to draw from, got {len(templates)}")
            else:
                yield where, _drawn(row, templates, self.seed)

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or changed."""
        drawn = sum(bool(example.query.extra.get("is_drawn")) for example in self._rows_read)
        text = f"{drawn} questions have options drawn by vidweave (seed {self.seed}), not those of MERV's study"
        return [*super().notes, *([text] * (drawn > 0))]

    @classmethod
    def parse(cls, row: Row) -> Example:
        """A question of MERV's form."""
        example = super().parse(row)
        if not row.get("is_drawn"):
            return example
        return replace(example, query=replace(example.query, extra={**example.query.extra, "is_drawn": True}))


NUM_OPTIONS = 5
SSV2_QUESTION = "What action is shown in the video?"


def _drawn(row: Row, templates: list[str], seed: int) -> Row:
    """The right template among four others; the draw depends on the row's id and the seed alone."""
    draw = Random(f"{seed} {row['id']}")
    others = draw.sample([template for template in templates if template != row["template"]], NUM_OPTIONS - 1)
    options = [*others, row["template"]]
    draw.shuffle(options)
    return {
        "video_name": row["id"],
        "question_id": row["id"],
        "question": SSV2_QUESTION,
        "options": [option.replace("[", "").replace("]", "") for option in options],
        "answer_id": options.index(row["template"]),
        "is_drawn": True,
    }
