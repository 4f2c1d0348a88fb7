"""What a loss averages over, so that the same loss can be taken over several batches."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MeanOver"]


@dataclass(frozen=True)
class MeanOver:
    """One term of a loss: `weight` times a mean over `count` things in the batch.

    Attributes:
        count: How many target tokens, labeled patches, spans, … the batch holds; None: its examples.
        weight: Factor of the term in the loss.
    """

    count: float | None = None
    weight: float = 1.0
