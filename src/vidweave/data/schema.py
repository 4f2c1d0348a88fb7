"""One question with its true answer, whatever source it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vidweave.errors import AnnotationError
from vidweave.types import Query

__all__ = ["Example"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query and what is true.

    Attributes:
        id: Unique within its source, the same in every run.
        family: Kind of question; accuracies are reported per family.
        query: What is asked, with options or without.
        truth: The right answer; one of the options if there are any.
        needs: Modalities without which only guessing is left.
        scope: `short` or `long`: how much of the clip must be looked at.
        encoder: `general`, or `speciality` for what only some encoders see.
        facets: Further sides that accuracies are broken down by: name → value, the same names in all examples.

    Raises:
        AnnotationError: the truth is not among the options, or there is none.
    """

    id: str
    family: str
    query: Query
    truth: str
    needs: frozenset[str] = field(default_factory=frozenset)
    scope: str = "short"
    encoder: str = "general"
    facets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.truth.strip():
            raise AnnotationError(f"example {self.id!r} has no true answer")
        if self.query.options and self.truth not in self.query.options:
            options = ", ".join(map(repr, self.query.options))
            raise AnnotationError(f"example {self.id!r}: the answer {self.truth!r} is not among the options {options}")
