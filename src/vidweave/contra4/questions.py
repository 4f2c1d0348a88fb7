"""Stage: write a question that compares the scenes of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from vidweave.contra4.prompts import question_prompt
from vidweave.contra4.rows import Row, captions_of, first_line
from vidweave.contra4.stage import Wrap, complete, described
from vidweave.engines import Engine, Request, Sampling

__all__ = ["QUESTION_SAMPLING", "Questions", "question_from", "question_rows"]

QUESTION_SAMPLING = Sampling(temperature=1.05, top_p=0.9, max_tokens=120, min_tokens=10, seed=42)


def question_from(text: str) -> str:
    """Build the question from a completion; text after the question mark is kept, as published."""
    return f"Which scene {first_line(text)}"


def question_rows(rows: Sequence[Row], engine: Engine, sampling: Sampling = QUESTION_SAMPLING) -> list[Row]:
    """Add ``questions`` to each row; ``q_type`` follows the number of scenes in the prompt.

    Rows whose request the engine refuses are dropped.
    """
    requests = [Request(prompt=question_prompt(captions_of(row)), sampling=sampling) for row in rows]
    return [
        {**row, "q_type": f"mc_{len(captions_of(row))}", "questions": [question_from(text)], "answers": []}
        for row, text in zip(rows, complete(engine, requests), strict=True)
        if text is not None
    ]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Settings of the stage.

    Attributes:
        engine: A base model that continues texts; the published data come from Llama-3-8B.
        sampling: Decoding settings.
        keep_prompt: Store the prompt in each row as ``step_2_prompt``, as the published files do (3 KB per row).
    """

    name: ClassVar[str] = "questions"
    scope: ClassVar[str] = "rows"
    engine: Engine
    sampling: Sampling = QUESTION_SAMPLING
    keep_prompt: bool = False

    def run(self, rows: Sequence[Row]) -> list[Row]:
        done = question_rows(rows, self.engine, self.sampling)
        if not self.keep_prompt:
            return done
        return [{**row, "step_2_prompt": question_prompt(captions_of(row))} for row in done]

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, engine=wrap(self.engine))

    def describe(self) -> dict[str, Any]:
        return described(self)
