"""One question with its answer, whatever source it came from."""

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

        Example(id="7", query=Query.about("a.mp4", "What does she hold?"), truth="a cup", answers=("a cup", "a mug"))

    Attributes:
        id: Unique within its source, the same in every run.
        query: The question, with options or without.
        truth: The answer, and the training target; one of the options if there are any. Empty if the source keeps answers
            to itself (`is_labeled` is then False).
        family: Question type; accuracies are reported per type.
        answers: All accepted answers, `truth` among them; empty if there is only that one.
        answer_index: Position of the answer among the options, where equal texts leave it open; None finds it by the text.
        media: Name of the recording that the question is about, as its source names it; empty if it has none. Questions
            about one recording share it.
        span: Start and end in seconds of the part of the recording that the question is about, where its source says.
        needs: Modalities without which the answer can only be guessed.
        scope: `short` or `long`: how much of the clip must be seen.
        encoder: `general`, or `speciality` for what only some encoders see.
        facets: Further groups that accuracies are broken down by: name → value, the same names in all examples.
        is_labeled: Whether the source gives the answer. An example without one can be asked, but neither scored nor
            trained on.

    Raises:
        AnnotationError: no answer where there must be one, an answer that is not among the options, or a span that is no time.
    """

    id: str
    query: Query
    truth: str
    family: str = "all"
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
        elif self.truth or self.answers or self.answer_index is not None:
            raise AnnotationError(f"example {self.id!r} is marked as unlabeled, but has the answer {self.truth!r}")
        if self.span is not None and not 0 <= self.span[0] < self.span[1] < inf:
            raise AnnotationError(
                f"example {self.id!r}: a span must be finite, with 0 <= start < end, got {self.span[0]} and {self.span[1]}"
            )

    def about(self, clip: Clip) -> Example:
        """The same example with `clip` in place of its one scene's."""
        return replace(self, query=replace(self.query, scenes=(Scene("", clip),)))

    @property
    def accepted(self) -> tuple[str, ...]:
        """All accepted answers, at least one."""
        return tuple(self.answers) or (self.truth,)

    @property
    def position(self) -> int | None:
        """Position of the answer among the options; None without options or without an answer."""
        if not self.query.options or not self.is_labeled or self.answer_index is not None:
            return self.answer_index
        return self.query.options.index(self.truth)

    def _check_answer(self) -> None:
        if not self.truth.strip():
            raise AnnotationError(f"example {self.id!r} has no true answer")
        if self.truth not in self.accepted:
            raise AnnotationError(f"example {self.id!r}: {self.truth!r} is not among its answers {self.answers}")
        if self.query.options:
            self._check_position()

    def _check_position(self) -> None:
        options, index = self.query.options, self.answer_index
        if self.truth not in options or (index is not None and options[index : index + 1] != (self.truth,)):
            found = ", ".join(map(repr, options))
            place = "" if index is None else f" at position {index}"
            raise AnnotationError(
                f"example {self.id!r}: the answer {self.truth!r} is not among the options {found}{place}"
            )


def named(media: str, question: str, options: tuple[str, ...] = (), /, **extra: Any) -> Query:
    """A question about a recording whose files are not looked for yet: its clip holds only the recording's name.

    `extra` are further texts of the annotation, kept in `Query.extra` for systems that word questions in their own way.
    """
    return Query(question, (Scene("", Clip(media)),), options, extra, may_repeat_options=True)
