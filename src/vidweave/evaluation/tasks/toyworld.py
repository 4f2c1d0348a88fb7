"""The toy world as a task: fresh scenes from a seed, or a folder of clips on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions, read_world
from vidweave.errors import ConfigError

__all__ = ["ToyworldTask"]

DEFAULT_EXAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class ToyworldTask:
    """Questions about the toy world, equally many of each type.

    Attributes:
        seed: Number of the unseen world (default 0).
        examples: Questions per type (default 100).
        families: Question types; None is all.
        modalities: What the clips hold; a model must use all of it.
        data: A folder that `vidweave world make` wrote, instead of scenes rendered in memory; it decides seed and
            number, so that these may not be given.

    Raises:
        ConfigError: `data` together with what it decides, or no question of the given types in it.
    """

    seed: int | None = None
    examples: int | None = None
    families: tuple[str, ...] | None = None
    modalities: tuple[str, ...] = ("video",)
    data: Path | None = None

    def __post_init__(self) -> None:
        decided = {"seed": self.seed, "examples": self.examples}
        if self.data is not None and (given := [name for name, value in decided.items() if value is not None]):
            raise ConfigError(f"the folder {self.data} decides {', '.join(given)}; leave them out")
        self._examples  # noqa: B018  # a wrong setting is told before a model is loaded

    @cached_property
    def _examples(self) -> Sequence[Example]:
        if self.data is None:
            number = DEFAULT_EXAMPLES if self.examples is None else self.examples
            return ToyQuestions(self.seed or 0, number, families=self.families, modalities=self.modalities)
        found = read_world(self.data, self.modalities)
        found = [example for example in found if not self.families or example.family in self.families]
        if not found:
            raise ConfigError(f"{self.data} has no question of the families {', '.join(self.families or ['(any)'])}")
        return found

    def ids(self) -> Sequence[str]:
        """Ids of all examples, in order."""
        found = self._examples
        return found.ids if isinstance(found, ToyQuestions) else [example.id for example in found]

    def example(self, index: int) -> Example:
        """The example at a position; its frames are rendered now."""
        return self._examples[index]

    def describe(self) -> dict[str, Any]:
        """What decides which examples these are."""
        families = list(self.families) if self.families else None
        facts: dict[str, Any] = {"name": "toyworld", "families": families, "modalities": list(self.modalities)}
        if self.data is None:
            number = DEFAULT_EXAMPLES if self.examples is None else self.examples
            return {**facts, "seed": self.seed or 0, "examples": number}
        asked = hashlib.sha256((Path(self.data) / "questions.jsonl").read_bytes()).hexdigest()
        return {**facts, "folder": Path(self.data).name, "questions_sha256": asked}
