"""Low-rank adapters (LoRA) for frozen linear layers, with a different adapter per group of rows."""

# Axes: R rows, G groups of rows with one adapter each, X positions, C width in, O width out, r rank

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ShapeError

__all__ = ["Lora", "RowAdapters", "Site"]

Site = tuple[int, str]  # layer and name of a linear layer of a trunk


class Lora(nn.Module):
    """x → scale * up(down(dropout(x))); initialized to zero (Hu et al. 2021, with PEFT's initialization of `down`).

    Plain parameters, not linear layers: a library that reinitializes all linear layers must not move `up` from zero.
    """

    def __init__(self, width: int, out: int, rank: int, *, scale: float = 1.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, width))
        self.up = nn.Parameter(torch.zeros(out, rank))
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, states: Tensor) -> Tensor:
        """(…, C) → (…, O)."""
        added = functional.linear(functional.linear(self.dropout(states), self.down), self.up)
        return added if self.scale == 1.0 else added * self.scale

    def merged(self, weight: Tensor) -> Tensor:
        """Return the merged weight (O, C) of one linear layer that equals `weight` plus this adapter, without dropout."""
        return weight + self.scale * (self.up @ self.down)


@dataclass(frozen=True, eq=False)
class RowAdapters:
    """Adapters per row of a batch: `parts` are (layers of an adapter by site, number of rows), in row order.

    A base layer runs once over all rows, and each adapter once over its own rows.
    """

    parts: tuple[tuple[Mapping[Site, Lora], int], ...]

    @classmethod
    def of(cls, adapters: Sequence[Mapping[Site, Lora]], index: Tensor) -> RowAdapters:
        """Assign `adapters[index]`, index (R,), to rows; rows with the same adapter are usually adjacent.

        Raises:
            ShapeError: an index out of range.
        """
        numbers, counts = torch.unique_consecutive(index, return_counts=True)
        chosen = list(zip(numbers.tolist(), counts.tolist(), strict=True))
        if chosen and not 0 <= min(chosen)[0] <= max(chosen)[0] < len(adapters):
            raise ShapeError(
                f"rows use the adapters {sorted({n for n, _ in chosen})}, but there are {len(adapters)} (numbered from 0)"
            )
        return cls(tuple((adapters[number], count) for number, count in chosen))

    def add(self, site: Site, states: Tensor, linear: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply `linear` to states (k * R, …, C), k consecutive per row, and add the rows' adapters at `site`."""
        result = linear(states)
        rows = sum(count for _, count in self.parts)
        if not rows or not any(site in adapter for adapter, _ in self.parts):
            return result
        sizes = [count * (len(states) // rows) for _, count in self.parts]
        pairs = zip(self.parts, states.split(sizes), result.split(sizes), strict=True)
        return torch.cat([out + adapter[site](x) if site in adapter else out for (adapter, _), x, out in pairs])
