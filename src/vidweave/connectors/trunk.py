"""Base classes of trunks, and one pass through a trunk for the rows of many ports."""

# Axes: R rows, T time steps, K keys, C key width, Q queries, H trunk width, L text tokens

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ConfigError
from vidweave.nn.bank import UndoLog
from vidweave.types import RoutesExperts, TakesAdapters, TextTokens, TrunkInput, text_spec_of

__all__ = ["MemoryTrunk", "Request", "Trunk", "run_requests"]


class Trunk(nn.Module):
    """Base class of all trunks.

    A subclass that can do more than `forward` implements a protocol of `vidweave.types`: `ReadsText`,
    `TakesAdapters`, `RoutesExperts`, `SeesClips`; one with a memory is a `MemoryTrunk`.

    Attributes:
        key_width: C, width of its keys.
        width: H, width of its output.
        query_width: Width of the query tokens; None: it takes none, and returns one token per key.
        float32_instead_of: Dtypes that it is not loaded in.
    """

    float32_instead_of: ClassVar[tuple[torch.dtype, ...]] = ()
    key_width: int
    width: int
    query_width: int | None = None

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Hidden states (R, Q + L, H), or (R, K, H) without query tokens."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def refuse(self, **extras: Any) -> None:
        """Raise ConfigError when an input was given that this trunk would ignore."""
        given = [name for name, value in extras.items() if value is not None]
        if given:
            raise ConfigError(
                f"{type(self).__name__} takes no {' and no '.join(given)}; use a trunk that does, or leave it out"
            )


class MemoryTrunk(Trunk):
    """Base class of trunks that keep a memory (`vidweave.types.KeepsMemory`): `empty_memory` and `step` are enough.

    The configuration of one has ``has_memory = True``. A trunk that processes many time steps
    faster at once overrides `commit`; one that can answer without building the new memory overrides `evaluate`.
    """

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Raise ConfigError: this trunk needs a memory."""
        raise ConfigError(
            f"{type(self).__name__} needs a memory; start with empty_memory(), then call step(), commit() or evaluate()"
        )

    @property
    def remembers_text(self) -> bool:
        return text_spec_of(self) is not None

    def empty_memory(self, inputs: TrunkInput) -> Any:
        """Create the memory of rows that have seen nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no empty_memory")

    def step(self, inputs: TrunkInput, memory: Any) -> tuple[Tensor, Any]:
        """Process keys (R, K, C) given a memory → hidden states (R, Q + L, H), and the memory with these keys added."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def commit(self, inputs: TrunkInput, memory: Any, undo_log: UndoLog | None = None) -> Any:
        """Return the memory after time steps keys (R, T, K, C), in order of time."""
        for index in range(inputs.keys.shape[1]):
            _, memory = self.step(inputs.step(index), memory)
        return memory

    def evaluate(self, inputs: TrunkInput, memory: Any) -> Tensor:
        """Compute hidden states of keys (R, K, C) as the last time step."""
        return self.step(inputs, memory)[0]

    def replay(self, inputs: TrunkInput, memory: Any) -> Any:
        """Raise ConfigError, unless a subclass can rebuild its memory with another text."""
        raise ConfigError(
            f"{type(self).__name__} cannot switch to another text for segments that it has already processed"
        )

    def account(self, memory: Any, row: int, most_tokens: int | None) -> dict[str, Any]:
        """Summarize a row's memory as JSON data for the Trace."""
        return {}


@dataclass(frozen=True, eq=False)
class Request:
    """Inputs of one port to its trunk."""

    keys: Tensor  # (R, K, C)
    mask: Tensor  # (R, K) bool
    item: Tensor  # (R,) int64, index of the item whose text the row reads
    queries: Tensor | None = None  # (R, Q, H)
    adapter: int = 0


def run_requests(trunk: Trunk, requests: Sequence[Request], text: TextTokens | None) -> list[Tensor]:
    """Answer all requests with one pass per number of queries (as a rule: one pass).

    Keys are padded to the longest request. Text positions are cut off: (R, Q, H) comes back for each request, or
    (R, K, H) from a trunk without queries.
    """
    results: list[Tensor | None] = [None] * len(requests)
    for members in _by_query_count(requests):
        hidden = trunk(_join([requests[m] for m in members], trunk, text))
        for member, part in zip(members, hidden.split([len(requests[m].keys) for m in members]), strict=True):
            queries = requests[member].queries
            length = requests[member].keys.shape[1] if queries is None else queries.shape[1]
            results[member] = part[:, :length]
    return [result for result in results if result is not None]


def _by_query_count(requests: Sequence[Request]) -> list[list[int]]:
    counts: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        counts.setdefault(0 if request.queries is None else request.queries.shape[1], []).append(index)
    return list(counts.values())


def _join(requests: Sequence[Request], trunk: Trunk, text: TextTokens | None) -> TrunkInput:
    """Stack requests of equal query count, keys padded to the longest."""
    longest = max(request.keys.shape[1] for request in requests)
    queries = [request.queries for request in requests if request.queries is not None]
    ids, text_mask = text_rows(trunk, text, torch.cat([request.item for request in requests]))
    return TrunkInput(
        queries=torch.cat(queries) if queries else None,
        keys=torch.cat([functional.pad(r.keys, (0, 0, 0, longest - r.keys.shape[1])) for r in requests]),
        mask=torch.cat([functional.pad(r.mask, (0, longest - r.mask.shape[1])) for r in requests]),
        text=ids,
        text_mask=text_mask,
        adapter=adapter_rows(trunk, torch.cat([torch.full_like(r.item, r.adapter) for r in requests])),
    )


def adapter_rows(trunk: Trunk, index: Tensor) -> Tensor | None:
    """The adapter index per row (R,), for a trunk that has adapters or routers."""
    has_adapters = isinstance(trunk, TakesAdapters) and trunk.has_adapters
    return index if has_adapters or isinstance(trunk, RoutesExperts) else None


def text_rows(trunk: Trunk, text: TextTokens | None, item: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Each row's text (R, L) and its mask, for a trunk that reads text.

    Raises:
        ConfigError: the trunk reads text and none was given.
    """
    if text_spec_of(trunk) is None:
        return None, None
    if text is None:
        raise ConfigError(
            f"{type(trunk).__name__} reads text, but none was given to begin(); give the question's tokens"
        )
    return text.ids[item], text.mask[item]
