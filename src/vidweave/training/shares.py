"""Means over a whole optimizer step: the weight of each micro-batch of each process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import TrainingError
from vidweave.training.batches import MicroBatch
from vidweave.training.objectives import declared_means

__all__ = ["Shares", "step_shares"]

Sum = Callable[[Sequence[float]], Sequence[float]]


@dataclass(frozen=True)
class Shares:
    """Factors of one micro-batch's values such that their sum over micro-batches, averaged over processes, is the mean.

    Attributes:
        terms: Term of the loss → factor; 0 if the micro-batch has nothing that the term averages over.
        weights: Term of the loss → its weight in the loss.
        examples: Factor of all other values, which are averaged over examples.
    """

    terms: Mapping[str, float]
    weights: Mapping[str, float]
    examples: float

    def part(self, name: str, value: Tensor) -> Tensor:
        """Return this micro-batch's part of the step's mean of the value `name`."""
        factor = self.terms.get(name, self.examples)
        return factor * value if factor else torch.zeros_like(value)  # a mean over nothing is NaN

    def loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return this micro-batch's part of the step's loss.

        Raises:
            TrainingError: the objective did not return a term that it declared.
        """
        lacking = [name for name in self.terms if name not in losses]
        if lacking:
            raise TrainingError(f"the objective declares a mean of {lacking[0]!r}, but returned {', '.join(losses)}")
        if all(factor == 1.0 for factor in self.terms.values()):
            return losses["loss"]
        # A term with nothing to average over may be NaN, which a factor of 0 would not remove.
        parts = [self.weights[name] * factor * losses[name] for name, factor in self.terms.items() if factor]
        return sum(parts[1:], parts[0]) if parts else 0.0 * losses["loss"]


def step_shares(objective: Any, micro_batches: Sequence[MicroBatch], world_size: int, total: Sum) -> list[Shares]:
    """Compute the shares of this process's micro-batches in the means over the whole step.

    Args:
        objective: Declares with ``means(batch) -> {term: MeanOver}`` the counts that the terms of its loss average over.
        world_size: Processes; gradients and logged values are averaged over them.
        total: Sums numbers over all processes.
    """
    means = [declared_means(objective, micro.batch) for micro in micro_batches]
    names = list(means[0])
    if any(list(other) != names for other in means):
        raise TrainingError("the objective declares other terms for each batch; declare a count of 0 for missing terms")
    sizes = [float(len(micro.indices)) for micro in micro_batches]
    counts = [
        {name: size if mean.count is None else float(mean.count) for name, mean in of_batch.items()}
        for of_batch, size in zip(means, sizes, strict=True)
    ]
    *totals, examples = total([sum(count[name] for count in counts) for name in names] + [sum(sizes)])
    whole = dict(zip(names, totals, strict=True))
    return [
        Shares(
            terms={name: world_size * count[name] / whole[name] if whole[name] else 0.0 for name in names},
            weights={name: mean.weight for name, mean in of_batch.items()},
            examples=world_size * size / examples,
        )
        for of_batch, count, size in zip(means, counts, sizes, strict=True)
    ]
