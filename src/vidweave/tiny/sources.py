"""Examples that are made once, and batches of stored features."""

# Axes: B clips, T time steps, N tokens, C encoder width

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from vidweave.training.stages import Examples
from vidweave.types import Features, PrecomputedFeatures

__all__ = ["FirstExamples", "MadeOnce", "stack_features"]

Source = TypeVar("Source")


class MadeOnce(Generic[Source]):
    """One source of examples for several stages: made from the model by the first stage that asks for it."""

    def __init__(self, make: Callable[[Any], Source]) -> None:
        self._make = make
        self.made: Source | None = None

    def __call__(self, root: Any) -> Source:
        self.made = self.made or self._make(root)
        return self.made


class FirstExamples:
    """The first `size` examples of a source, each made once."""

    def __init__(self, source: Examples, size: int) -> None:
        self._source, self._size = source, size
        self._known: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        if index not in self._known:
            self._known[index] = self._source[index]
        return self._known[index]


def stack_features(rows: Sequence[PrecomputedFeatures]) -> Features:
    """Features (B, T, N, C) of clips of equal length, in float32."""
    values = torch.from_numpy(np.stack([row.values for row in rows])).float()
    seconds = torch.from_numpy(np.stack([row.seconds for row in rows]))
    item = torch.arange(len(rows))
    return Features(values, torch.ones(values.shape[:3], dtype=torch.bool), seconds, item, torch.zeros_like(item))
