"""Stage: classify the question of each row into a category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from vidweave.contra4.prompts import category_prompt
from vidweave.contra4.rows import Row, first_line, question_of
from vidweave.contra4.stage import Wrap, complete, described
from vidweave.engines import Engine, Request, Sampling

__all__ = ["CATEGORY_SAMPLING", "Categories", "categorise_rows"]

CATEGORY_SAMPLING = Sampling(temperature=0.3, top_p=0.9, max_tokens=30, min_tokens=10, seed=42)


def categorise_rows(
    rows: Sequence[Row],
    engine: Engine,
    sampling: Sampling = CATEGORY_SAMPLING,
    merge: Mapping[str, str] | None = None,
) -> list[Row]:
    """Add ``category`` to each row: the first line of the completion, or its entry in `merge`; empty if refused."""
    requests = [Request(prompt=category_prompt(question_of(row)), sampling=sampling) for row in rows]
    names = [first_line(text or "") for text in complete(engine, requests)]
    return [{**row, "category": (merge or {}).get(name, name)} for row, name in zip(rows, names, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Categories:
    """Settings of the stage.

    Attributes:
        engine: Published: Llama-3.1-8B-Instruct, continuing a raw prompt.
        merge: Category as written → category as kept. How free texts became the nine published ones is not known.
    """

    name: ClassVar[str] = "categories"
    scope: ClassVar[str] = "rows"
    engine: Engine
    sampling: Sampling = CATEGORY_SAMPLING
    merge: Mapping[str, str] = field(default_factory=dict)

    def run(self, rows: Sequence[Row]) -> list[Row]:
        return categorise_rows(rows, self.engine, self.sampling, self.merge)

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, engine=wrap(self.engine))

    def describe(self) -> dict[str, Any]:
        return described(self)
