"""Sources that compute each example once, and batches of stored features."""

# Axes: B clips, T time steps, N tokens, C encoder width

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from vidweave.training.stages import Examples
from vidweave.types import Features, PrecomputedFeatures

__all__ = ["FirstExamples", "SharedSource", "stack_features"]

Source = TypeVar("Source")


class SharedSource(Generic[Source]):
    """A source of examples shared by several stages: created from the model by the first stage that uses it."""

    def __init__(self, make: Callable[[Any], Source]) -> None:
        self._make = make
        self.value: Source | None = None

    def __call__(self, root: Any) -> Source:
        self.value = self.value or self._make(root)
        return self.value


class FirstExamples:
    """The first `size` examples of a source, each computed once."""

    def __init__(self, source: Examples, size: int) -> None:
        self._source, self._size = source, size
        self._cache: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        if index not in self._cache:
            self._cache[index] = self._source[index]
        return self._cache[index]


def stack_features(rows: Sequence[PrecomputedFeatures]) -> Features:
    """Stack features (B, T, N, C) of clips of equal length, in float32."""
    values = torch.from_numpy(np.stack([row.values for row in rows])).float()
    seconds = torch.from_numpy(np.stack([row.seconds for row in rows]))
    item = torch.arange(len(rows))
    return Features(values, torch.ones(values.shape[:3], dtype=torch.bool), seconds, item, torch.zeros_like(item))
