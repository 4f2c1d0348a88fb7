"""SQA3D, situated questions about 3D scenes, and 3D-LLM's questions in the same format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.jsonl import expect, read_json
from vidweave.data.schema import Example, named
from vidweave.errors import AnnotationError
from vidweave.media.point_pairs import read_point_pair

__all__ = ["SQA3D", "ThreeDLLM"]

TYPES = ("What", "How", "Can", "Is", "Which")


@dataclass(frozen=True, kw_only=True)
class _Scenes(Dataset):
    """Questions about scenes whose points are `points/<scene>.npy` or a pair of 3D-LLM's files (`media.point_pairs`).

    The features of a pair are memory-mapped and read on use.
    """

    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "video": ("{root}/frame/{name}", "{root}/video/{name}", "{root}/video/{name}.mp4"),
        "depth": ("{root}/depth/{name}",),
        "normals": ("{root}/norm/{name}",),
        "flow": ("{root}/flow/{name}",),
        "point_cloud": ("{root}/points/{name}.npy",),
    }

    def source(self, modality: str, name: str) -> Any:
        """Find one modality of a scene; None if it does not exist."""
        source = super().source(modality, name)
        if source is not None or modality != "point_cloud":
            return source
        if name not in self._pairs:  # opened once for all questions about a scene
            pairs = (read_point_pair(Path(root), name) for root in self.media)
            self._pairs[name] = next((pair for pair in pairs if pair is not None), None)
        return self._pairs[name]

    @cached_property
    def _pairs(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class SQA3D(_Scenes):
    """SQA3D, in 3D-LLM's format (one list), or the official one (questions and answers in two files).

    Attributes:
        answers: The official annotations file, if `data` is the official questions file; joined by question id.
    """

    name: ClassVar[str] = "sqa3d"
    answers: Path | None = None

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``question_id, scene_id, situation, question, answers``."""
        scene, situation, question = str(row["scene_id"]), row["situation"], row["question"]
        answers = row["answers"]
        if isinstance(answers, str) or not answers:
            raise ValueError(f"answers must be a list of strings, got {answers!r}")
        query = named(scene, f"{situation} {question}", situation=situation, question=question)
        return Example(
            id=str(row["question_id"]),
            query=query,
            answer=answers[0],
            answers=tuple(answers),
            question_type=next((kind for kind in TYPES if kind in question), "Other"),
            media=scene,
        )

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of either format, converted to 3D-LLM's."""
        content = read_json(Path(self.data))
        if not isinstance(content, dict) or "questions" not in content:
            yield from super().rows()
            return
        if self.answers is None:
            raise AnnotationError(f"{self.data} contains only questions; give their annotations with answers=FILE")
        answers = self._answers(self.answers)
        (questions,) = expect(content, str(self.data), questions=list)
        for number, row in enumerate(questions):
            where = f"{Path(self.data).name}, question {number}"
            if row.get("question_id") not in answers:
                raise AnnotationError(f"{where}: {self.answers} has no answer to {row.get('question_id')!r}")
            yield where, {**row, "answers": answers[row["question_id"]]}

    @staticmethod
    def _answers(path: Path) -> Mapping[Any, list[str]]:
        (rows,) = expect(read_json(Path(path)), str(path), annotations=list)
        answers = {}
        for number, row in enumerate(rows):
            name, given = expect(row, f"{path}, annotation {number}", question_id=int, answers=list)
            answers[name] = [answer["answer"] for answer in given]
        return answers


@dataclass(frozen=True, kw_only=True)
class ThreeDLLM(_Scenes):
    """3D-LLM's own questions about scenes, for training a point-cloud adapter."""

    name: ClassVar[str] = "3d-llm"

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``scene_id, question, answers``; ids are the scene ids."""
        scene = str(row["scene_id"])
        return Example(
            id=scene,
            query=named(scene, row["question"]),
            answer=row["answers"][0],
            answers=tuple(row["answers"]),
            media=scene,
        )
