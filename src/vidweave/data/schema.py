"""Example: a question with its answer, from any source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from vidweave.errors import AnnotationError
from vidweave.types import Clip, Query, Scene

__all__ = ["Example", "named"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query and its answer.

    Example::

        Example(id="7", query=Query.about("a.mp4", "What does she hold?"), answer="a cup", answers=("a cup", "a mug"))

    Attributes:
        id: Identifier, unique within its source and stable across runs.
        query: The question, with or without options.
        answer: The answer and training target; one of the options if there are any. Empty if the source has no public
            answers (`is_labeled` is then False).
        question_type: Question type; accuracies are reported per type.
        answers: All accepted answers, `answer` among them; empty if there is only that one.
        answer_index: Index of the answer among the options, needed if options repeat; None finds it by its text.
        media: Name of the recording in its source, shared by all questions about it; empty if it has none.
        span: Start and end in seconds of the part of the recording that the question is about, if annotated.
        needs: Modalities required to answer the question.
        scope: `short` or `long`: the part of the clip needed to answer.
        encoder: `general`, or `speciality` for content that only some encoders capture.
        facets: Further groups to break accuracies down by: name → value, with the same names in all examples.
        is_labeled: Whether the source has an answer. Unlabeled examples can be answered, but neither scored nor trained
            on.

    Raises:
        AnnotationError: The answer is missing or not among the options, or the span is invalid.
    """

    id: str
    query: Query
    answer: str
    question_type: str = "all"
    answers: tuple[str, ...] = ()
    answer_index: int | None = None
    media: str = ""
    span: tuple[float, float] | None = None
    needs: frozenset[str] = field(default_factory=frozenset)
    scope: str = "short"
    encoder: str = "general"
    facets: Mapping[str, str] = field(default_factory=dict)
    is_labeled: bool = True

    def __post_init__(self) -> None:
        if self.is_labeled:
            self._check_answer()
        elif self.answer or self.answers or self.answer_index is not None:
            raise AnnotationError(f"example {self.id!r} is marked as unlabeled, but has the answer {self.answer!r}")
        if self.span is not None and not 0 <= self.span[0] < self.span[1] < inf:
            raise AnnotationError(
                f"example {self.id!r}: a span must be finite, with 0 <= start < end, got {self.span[0]} and {self.span[1]}; "
                "correct the row, or omit start and end to use the whole clip"
            )

    def about(self, clip: Clip) -> Example:
        """Return a copy with `clip` as the clip of its single scene."""
        return replace(self, query=replace(self.query, scenes=(Scene("", clip),)))

    @property
    def accepted(self) -> tuple[str, ...]:
        """All accepted answers, at least one."""
        return tuple(self.answers) or (self.answer,)

    @property
    def position(self) -> int | None:
        """Index of the answer among the options; None without options or without a label."""
        if not self.query.options or not self.is_labeled or self.answer_index is not None:
            return self.answer_index
        return self.query.options.index(self.answer)

    def _check_answer(self) -> None:
        if not self.answer.strip():
            raise AnnotationError(f"example {self.id!r} has no answer")
        if self.answer not in self.accepted:
            raise AnnotationError(f"example {self.id!r}: {self.answer!r} is not among its answers {self.answers}")
        if self.query.options:
            self._check_position()

    def _check_position(self) -> None:
        options, index = self.query.options, self.answer_index
        if self.answer not in options or (index is not None and options[index : index + 1] != (self.answer,)):
            listed = ", ".join(map(repr, options))
            position = "" if index is None else f" at index {index}"
            raise AnnotationError(
                f"example {self.id!r}: the answer {self.answer!r} is not among the options {listed}{position}"
            )


def named(media: str, question: str, options: tuple[str, ...] = (), /, **extra: Any) -> Query:
    """Build a question about a recording whose files are not located yet; its clip contains only the recording's name.

    `extra` holds further texts of the annotation in `Query.extra`, for systems with their own prompts.
    """
    return Query(question, (Scene("", Clip(media)),), options, extra, may_repeat_options=True)
