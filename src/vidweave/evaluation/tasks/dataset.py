"""Data sets as evaluation tasks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vidweave.data.dataset import Dataset
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError

__all__ = ["DatasetTask"]


class DatasetTask:
    """Task of the examples of a data set.

    Args:
        name: Name of the data set.
        examples: The examples; a `Dataset` builds them on access.
        settings: Settings of the data set. Files are identified by name and content, so that they may be moved.
        notes: Further notes about excluded or changed examples.
    """

    def __init__(
        self, name: str, examples: Iterable[Example], settings: Mapping[str, Any], *, notes: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.settings = settings
        self._examples: Sequence[Example] = examples if isinstance(examples, Sequence) else list(examples)
        self._notes = list(notes)

    @property
    def source(self) -> Sequence[Example]:
        """The examples, as given."""
        return self._examples

    @cached_property
    def _ids(self) -> Sequence[str]:
        if isinstance(self._examples, Dataset):
            return self._examples.ids
        ids = [example.id for example in self._examples]
        name, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
        if count > 1:
            raise AnnotationError(
                f"the data set {self.name} has {count} examples with the id {name!r}; make ids unique"
            )
        return ids

    def ids(self) -> Sequence[str]:
        """Ids of all examples, in order."""
        return self._ids

    def example(self, index: int) -> Example:
        """The example at a position."""
        return self._examples[index]

    def recordings(self) -> Sequence[str]:
        """Recording of each example, in order; an example without one gets its own."""
        if isinstance(self._examples, Dataset):
            return [example.media or example.id for example in self._examples.annotations]
        return [example.media or example.id for example in self._examples]

    def sizes(self) -> Sequence[int]:
        """Characters of each question with its options."""
        asked = self._examples.annotations if isinstance(self._examples, Dataset) else self._examples
        return [len(example.query.text) + sum(map(len, example.query.options)) for example in asked]

    def annotations(self) -> Sequence[Example]:
        """All examples, including those dropped because their media are missing; no media are opened."""
        return self._examples.all_annotations if isinstance(self._examples, Dataset) else self._examples

    def require_media(self) -> None:
        """Check that all examples have media, before a model is loaded."""
        if isinstance(self._examples, Dataset):
            self._examples.require_media()

    def notes(self) -> list[str]:
        """Notes about excluded or changed examples."""
        return [*(self._examples.notes if isinstance(self._examples, Dataset) else []), *self._notes]

    def describe(self) -> dict[str, Any]:
        """Describe the data set: name, settings, and name and hash of each file; media are hashed in the predictions."""
        facts: dict[str, Any] = {"name": self.name}
        for name, value in self.settings.items():
            if name == "media" or value is None:
                continue
            path = Path(value) if isinstance(value, (str, Path)) and str(value) else None
            if path is not None and path.is_file():
                facts |= {name: path.name, f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            else:
                facts[name] = value if isinstance(value, (bool, int, float)) else _plain(value)
        return facts


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else str(value)
