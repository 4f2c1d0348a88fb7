"""The toy world as a task: fresh scenes from a seed, or a folder of clips on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions, read_world
from vidweave.errors import ConfigError

__all__ = ["ToyworldTask"]


class ToyworldTask:
    """Questions about the toy world, every family alike.

    Args:
        seed: Which unseen world.
        examples: Questions per family (default 100).
        families: Names of families; None is all.
        modalities: What the clips hold (default video); a model must use all of it.
        folder: A folder that `vidweave world make` wrote, instead of scenes rendered in memory; it decides seed and
            number, so that these may not be given.

    Raises:
        ConfigError: `folder` together with what it decides, or no question of the given families in it.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        examples: int | None = None,
        families: Sequence[str] | None = None,
        modalities: Sequence[str] | None = None,
        folder: Path | str | None = None,
    ) -> None:
        chosen = list(modalities or ["video"])
        self._facts: dict[str, Any] = {"families": list(families) if families else None, "modalities": chosen}
        if folder is not None:
            if given := [name for name, value in (("seed", seed), ("examples", examples)) if value is not None]:
                raise ConfigError(f"the folder {folder} decides {', '.join(given)}; leave them out")
            self._take_folder(Path(folder), families, chosen)
        else:
            made = ToyQuestions(seed or 0, 100 if examples is None else examples, families=families, modalities=chosen)
            self._examples, self._ids = made, made.ids
            self._facts |= {"seed": seed or 0, "examples": 100 if examples is None else examples}

    def _take_folder(self, folder: Path, families: Sequence[str] | None, modalities: Sequence[str]) -> None:
        found = [e for e in read_world(folder, modalities) if families is None or e.family in families]
        if not found:
            raise ConfigError(f"{folder} has no question of the families {', '.join(families or ['(any)'])}")
        self._examples: Sequence[Example] = found
        self._ids = [example.id for example in found]
        asked = hashlib.sha256((folder / "questions.jsonl").read_bytes()).hexdigest()
        self._facts |= {"folder": folder.name, "questions_sha256": asked}

    def ids(self) -> Sequence[str]:
        """Ids of all examples, in order."""
        return self._ids

    def example(self, index: int) -> Example:
        """The example at a position; its pictures are rendered now."""
        return self._examples[index]

    def describe(self) -> dict[str, Any]:
        """What decides which examples these are."""
        return {"name": "toyworld", **self._facts}
