"""SeViLA's multiple-choice format, and data sets read in it or in their own: STAR and How2QA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from vidweave.data.dataset import VIDEO_SUFFIXES, Dataset, Row
from vidweave.data.schema import Example, named

__all__ = ["How2QA", "SevilaForm", "Star"]


@dataclass(frozen=True, kw_only=True)
class SevilaForm(Dataset):
    """Rows ``video, num_option, qid, a0 …, answer, question``, optionally with ``start, end``.

    The part of an id before the first underscore is the question type. A row without `answer` is unlabeled.
    """

    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": (
            *(f"{{root}}/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
            *(f"{{root}}/videos/{{name}}{suffix}" for suffix in VIDEO_SUFFIXES),
            "{root}/{name}",
            "{root}/frames/{name}",
        ),
    }

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object in SeViLA's format."""
        options = tuple(row[f"a{i}"] for i in range(int(row["num_option"])))
        name = str(row["qid"])
        media = str(row.get("video", name))
        common = {
            "id": name,
            "query": named(media, row["question"], options),
            "question_type": str(row.get("type", name.split("_")[0])),
            "media": media,
            "span": _span(row),
        }
        if row.get("answer") is None and cls.may_lack_answers:
            return Example(**common, answer="", is_labeled=False)
        given = str(row["answer"])
        if not given.isdigit() or int(given) >= len(options):
            raise ValueError(f"answer is {given or 'empty'}, expected 0 to {len(options) - 1}")
        answer = int(given)
        return Example(**common, answer=options[answer], answer_index=answer)

    may_lack_answers: ClassVar[bool] = False
    """Whether the data set has splits without public answers."""


def _span(row: Row) -> tuple[float, float] | None:
    if "start" not in row and "end" not in row:
        return None
    return float(row["start"]), float(row["end"])


@dataclass(frozen=True, kw_only=True)
class Star(SevilaForm):
    """STAR: four options per question about a segment of a Charades video; the official list, or SeViLA's format."""

    name: ClassVar[str] = "star"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to SeViLA's."""
        for where, row in super().rows():
            yield where, self._from_official(row) if "choices" in row else row

    @staticmethod
    def _from_official(row: Row) -> Row:
        """Find the answer among the choices by its text; if missing, its index stays out of range and is refused."""
        texts = [choice["choice"] for choice in sorted(row["choices"], key=lambda choice: choice["choice_id"])]
        answer = {} if "answer" not in row else {"answer": texts.index(row["answer"]) if row["answer"] in texts else -1}
        return {
            "video": row["video_id"],
            "qid": row["question_id"],
            "num_option": len(texts),
            "question": row["question"],
            "start": row["start"],
            "end": row["end"],
            **answer,
            **{f"a{i}": text for i, text in enumerate(texts)},
        }


@dataclass(frozen=True, kw_only=True)
class How2QA(SevilaForm):
    """How2QA: four options per question about a segment of a video; the official JSON lines, or SeViLA's format."""

    name: ClassVar[str] = "how2qa"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to SeViLA's."""
        for number, (where, row) in enumerate(super().rows()):
            yield where, self._from_official(row, number) if "answer_idx" in row else row

    @staticmethod
    def _from_official(row: Row, number: int) -> Row:
        start, _, end = str(row["ts"]).partition("-")
        options = {f"a{i}": row[f"a{i}"] for i in range(4)}
        return {
            "video": row["vid_name"],
            "qid": f"HOW2QA_{number}",
            "num_option": len(options),
            "question": row["q"],
            "answer": row["answer_idx"],
            "start": start,
            "end": end,
            **options,
        }
