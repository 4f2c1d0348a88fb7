"""Terms that a loss averages over, so that the loss over several batches can be computed exactly."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MeanOver"]


@dataclass(frozen=True)
class MeanOver:
    """One term of a loss: `weight` times a mean over `count` things in the batch.

    Attributes:
        count: Number of target tokens, labeled patches, spans, … in the batch; None: its examples.
        weight: Factor of the term in the loss.
    """

    count: float | None = None
    weight: float = 1.0
