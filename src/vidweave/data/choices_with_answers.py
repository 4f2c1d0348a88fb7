"""Multiple choice in MERV's format, with questions and answers in two files: Perception Test and SSv2-MCQ."""

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
    """Rows ``video_name, question_id, question, options, answer_id``, optionally with ``end_frame`` and ``time``.

    Attributes:
        answers: Answer file (default: the one beside ``test_q.json``). Without it, nothing is scored.
    """

    layout: ClassVar[Mapping[str, tuple[str, ...]]] = _VIDEO
    answers: Path | None = None

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a question in MERV's format, with its answer if it has one."""
        options = tuple(row["options"])
        end_frame = {} if row.get("end_frame") is None else {"end_frame": int(row["end_frame"])}
        common: dict[str, Any] = {
            "id": str(row["question_id"]),
            "query": named(str(row["video_name"]), row["question"], options, **end_frame),
            "media": str(row["video_name"]),
            "question_type": str(row.get("area", "all")),
            "facets": {name: str(row[name]) for name in ("reasoning",) if name in row},
            "span": tuple(map(float, row["time"])) if "time" in row else None,
        }
        if row.get("answer_id") is None:
            return Example(**common, answer="", is_labeled=False)
        position = int(row["answer_id"])
        if not 0 <= position < len(options):
            raise ValueError(f"answer is {position}, expected 0 to {len(options) - 1}")
        return Example(**common, answer=options[position], answer_index=position)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the questions, joined with their answers by id."""
        return joined_rows(Path(self.data), self.answers)


@dataclass(frozen=True, kw_only=True)
class PerceptionTest(_MervChoices):
    """Perception Test: three options per question; from the official annotations or MERV's format.

    Questions are about a video up to its cut frame, since later frames reveal the answer. In the official format, the
    cut frames are in a separate file.

    Attributes:
        cut_frames: The file cut_frame_mapping_*.json: video → frame (default: the one beside the annotations). Videos
            without a cut frame are used in full and counted in a note: their scores are too high.
    """

    name: ClassVar[str] = "perception-test"
    cut_frames: Path | None = None

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the questions of either format, converted to MERV's."""
        for where, row in super().rows():
            if "mc_question" in row:
                yield from self._from_official(row, where)
            else:
                yield where, row

    def clip(self, example: Example) -> Clip | None:
        """Return the clip of an example, up to its cut frame."""
        clip, last = super().clip(example), example.query.extra.get("end_frame")
        if clip is None or last is None or "video" not in clip:
            return clip
        with open_source(clip["video"], "video", fps=clip.fps) as source:
            times, _ = source.timeline()
        settings = {**clip.settings, "end_seconds": float(times[min(last, len(times) - 1)])}
        return Clip(**dict(clip), **settings) if settings["end_seconds"] > 0 else clip

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed rows."""
        whole = sum("end_frame" not in example.query.extra for example in self._rows_read)
        text = f"{whole} questions have no cut frame: their full videos are used, which reveals answers"
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
            content = read_json(path)
            if not isinstance(content, dict):
                raise AnnotationError(f"{path} must map videos to frames, got a {type(content).__name__}")
            cuts |= {str(video): int(frame) for video, frame in content.items()}
        return cuts


@dataclass(frozen=True, kw_only=True)
class SSv2Choices(_MervChoices):
    """Something-Something v2 as multiple choice: MERV's format, or options sampled for each official label.

    The files of MERV's study are not public. From `something-something-v2-*.json`, this reader builds similar questions
    with the correct template and four random ones, and notes it: such scores are comparable only with one another.

    Attributes:
        seed: Seed of the random options.
    """

    name: ClassVar[str] = "ssv2-mcq"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/{name}.webm", "{root}/20bn-something-something-v2/{name}.webm", *_VIDEO["video"])
    }
    seed: int = 0

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over questions in MERV's format, or with random options."""
        rows = list(super().rows())
        templates = sorted({row["template"] for _, row in rows if "template" in row})
        for where, row in rows:
            if "template" not in row:
                yield where, row
            elif len(templates) < NUM_OPTIONS:
                raise AnnotationError(
                    f"{where}: at least {NUM_OPTIONS} different templates are needed, got {len(templates)}"
                )
            else:
                yield where, _drawn(row, templates, self.seed)

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed rows."""
        drawn = sum(bool(example.query.extra.get("is_drawn")) for example in self._rows_read)
        text = f"{drawn} questions have random options by vidweave (seed {self.seed}), not those of MERV's study"
        return [*super().notes, *([text] * (drawn > 0))]

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse a question in MERV's format."""
        example = super().parse(row)
        if not row.get("is_drawn"):
            return example
        return replace(example, query=replace(example.query, extra={**example.query.extra, "is_drawn": True}))


NUM_OPTIONS = 5
SSV2_QUESTION = "What action is shown in the video?"


def _drawn(row: Row, templates: list[str], seed: int) -> Row:
    """Shuffle the correct template among four random ones, depending only on the row's id and the seed."""
    rng = Random(f"{seed} {row['id']}")
    others = rng.sample([template for template in templates if template != row["template"]], NUM_OPTIONS - 1)
    options = [*others, row["template"]]
    rng.shuffle(options)
    return {
        "video_name": row["id"],
        "question_id": row["id"],
        "question": SSV2_QUESTION,
        "options": [option.replace("[", "").replace("]", "") for option in options],
        "answer_id": options.index(row["template"]),
        "is_drawn": True,
    }
