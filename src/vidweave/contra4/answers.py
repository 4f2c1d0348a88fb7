"""Stage: answer the question of each row with a scene and an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from vidweave.contra4.prompts import answer_prompt
from vidweave.contra4.rows import Row, captions_of, first_line, question_of
from vidweave.contra4.stage import Wrap, complete, described
from vidweave.engines import Engine, Request, Sampling

__all__ = ["ANSWER_SAMPLING", "Answers", "answer_rows"]

ANSWER_SAMPLING = Sampling(temperature=0.3, top_p=0.9, max_tokens=120, min_tokens=10, seed=42)


def answer_rows(rows: Sequence[Row], engine: Engine, sampling: Sampling = ANSWER_SAMPLING) -> list[Row]:
    """Add ``answers`` to each row: the first line of the completion, normally ``Scene X. <explanation>``.

    Rows whose request the engine refuses are dropped.
    """
    requests = [Request(prompt=answer_prompt(captions_of(row), question_of(row)), sampling=sampling) for row in rows]
    texts = complete(engine, requests)
    return [{**row, "answers": [first_line(text)]} for row, text in zip(rows, texts, strict=True) if text is not None]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Settings of the stage: the model that wrote the questions, with less random decoding."""

    name: ClassVar[str] = "answers"
    scope: ClassVar[str] = "rows"
    engine: Engine
    sampling: Sampling = ANSWER_SAMPLING

    def run(self, rows: Sequence[Row]) -> list[Row]:
        return answer_rows(rows, self.engine, self.sampling)

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, engine=wrap(self.engine))

    def describe(self) -> dict[str, Any]:
        return described(self)
