"""Low-rank adapters: what a few parameters add to a frozen linear layer, for some rows of a batch each."""

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
    """x → scale * up(down(dropout(x))); it starts at zero (Hu and others 2021, with PEFT's start of `down`).

    Plain parameters, not linear layers: a library that starts all linear layers anew must not move `up` from zero.
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
        """The weight (O, C) of one linear layer that does what `weight` and this do: exact, without dropout."""
        return weight + self.scale * (self.up @ self.down)


@dataclass(frozen=True, eq=False)
class RowAdapters:
    """Which adapter each row of a batch has: `parts` are (its layers by site, how many rows), in the order of rows.

    A base layer then runs once over all rows, and each adapter once over its own.
    """

    parts: tuple[tuple[Mapping[Site, Lora], int], ...]

    @classmethod
    def of(cls, adapters: Sequence[Mapping[Site, Lora]], index: Tensor) -> RowAdapters:
        """Rows that take `adapters[index]`, index (R,); rows of one adapter stand together as a rule.

        Raises:
            ShapeError: an index that is none of theirs.
        """
        numbers, counts = torch.unique_consecutive(index, return_counts=True)
        chosen = list(zip(numbers.tolist(), counts.tolist(), strict=True))
        if chosen and not 0 <= min(chosen)[0] <= max(chosen)[0] < len(adapters):
            raise ShapeError(
                f"rows ask for the adapters {sorted({n for n, _ in chosen})}, there are {len(adapters)} (from 0)"
            )
        return cls(tuple((adapters[number], count) for number, count in chosen))

    def add(self, site: Site, states: Tensor, linear: Callable[[Tensor], Tensor]) -> Tensor:
        """`linear` of states (k * R, …, C), k neighbours for each row, with what the rows' adapters add at `site`."""
        result = linear(states)
        rows = sum(count for _, count in self.parts)
        if not rows or not any(site in adapter for adapter, _ in self.parts):
            return result
        sizes = [count * (len(states) // rows) for _, count in self.parts]
        pairs = zip(self.parts, states.split(sizes), result.split(sizes), strict=True)
        return torch.cat([out + adapter[site](x) if site in adapter else out for (adapter, _), x, out in pairs])
