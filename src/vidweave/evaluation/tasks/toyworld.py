"""The toy world as a task: fresh scenes from a seed, or a folder of clips on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions, read_toyworld
from vidweave.errors import ConfigError

__all__ = ["ToyworldTask"]

DEFAULT_EXAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class ToyworldTask:
    """Questions about the toy world, equally many of each type.

    Attributes:
        seed: Number of the unseen world (default 0).
        examples: Questions per type (default 100).
        question_types: Question types; None is all.
        modalities: Modalities of the clips; the model must use all of them.
        data: A folder of `vidweave toyworld make`, instead of scenes rendered in memory; it determines seed and number,
            which must be omitted.

    Raises:
        ConfigError: `data` is given together with `seed` or `examples`, or has no question of the given types.
    """

    seed: int | None = None
    examples: int | None = None
    question_types: tuple[str, ...] | None = None
    modalities: tuple[str, ...] = ("video",)
    data: Path | None = None

    def __post_init__(self) -> None:
        decided = {"seed": self.seed, "examples": self.examples}
        if self.data is not None and (given := [name for name, value in decided.items() if value is not None]):
            raise ConfigError(f"the folder {self.data} determines {', '.join(given)}; omit them")
        self._examples  # noqa: B018  # a wrong setting fails before a model is loaded

    @cached_property
    def _examples(self) -> Sequence[Example]:
        if self.data is None:
            number = DEFAULT_EXAMPLES if self.examples is None else self.examples
            return ToyQuestions(self.seed or 0, number, question_types=self.question_types, modalities=self.modalities)
        read = read_toyworld(self.data, self.modalities)
        examples = [
            example for example in read if not self.question_types or example.question_type in self.question_types
        ]
        if not examples:
            raise ConfigError(f"{self.data} has no question of type {', '.join(self.question_types or ['(any)'])}")
        return examples

    def ids(self) -> Sequence[str]:
        """Ids of all examples, in order."""
        examples = self._examples
        return examples.ids if isinstance(examples, ToyQuestions) else [example.id for example in examples]

    def example(self, index: int) -> Example:
        """The example at a position; its frames are rendered now."""
        return self._examples[index]

    def describe(self) -> dict[str, Any]:
        """Describe the settings that determine the examples."""
        question_types = list(self.question_types) if self.question_types else None
        facts: dict[str, Any] = {
            "name": "toyworld",
            "question_types": question_types,
            "modalities": list(self.modalities),
        }
        if self.data is None:
            number = DEFAULT_EXAMPLES if self.examples is None else self.examples
            return {**facts, "seed": self.seed or 0, "examples": number}
        digest = hashlib.sha256((Path(self.data) / "questions.jsonl").read_bytes()).hexdigest()
        return {**facts, "folder": Path(self.data).name, "questions_sha256": digest}
