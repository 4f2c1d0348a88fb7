"""What a trunk is, and how rows of many ports go through one in one pass."""

# Axes: R rows, T groups in time, K keys, C key width, Q queries, H trunk width, L text tokens

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.modality_adapters import Adapter
from vidweave.errors import ConfigError
from vidweave.nn.bank import Journal
from vidweave.nn.lora import Site
from vidweave.types import TextSpec, TextTokens

__all__ = ["Request", "Trunk", "run_requests"]


class Trunk(nn.Module):
    """Base of all trunks: the facts by which a connector knows how to use one.

    Attributes:
        key_width: C, width of the keys that it reads.
        width: H, width of what it returns.
        query_width: Of the query tokens; H unless it says otherwise.
        has_queries: Ports bring query tokens; without, it returns one token per key.
        has_adapters: It takes `adapter` (R,): the index of the row's port among the connector's ports.
        has_memory: It works group by group, on a memory value: see `empty_memory`, `forward` and `commit`. Its
            configuration has the same attribute, so that prompts can be planned without building it.
        text_spec: How it reads text; None when it reads none.
        keeps_groups: It sees a row's groups together and apart, through `over_time`, and gives `num_tokens` (None: one
            per key) for each group, or for each `time` neighbouring ones. With `needs_clip` its ports' span is `clip`.
    """

    has_queries: ClassVar[bool] = True
    float32_instead_of: ClassVar[tuple[torch.dtype, ...]] = ()
    has_adapters: bool = False
    has_memory: bool = False
    text_spec: TextSpec | None = None
    keeps_groups: ClassVar[bool] = False
    needs_clip: bool = False
    num_tokens: int | None = None
    time: int = 1
    key_width: int
    width: int
    query_width: int | None = None

    @property
    def reads_text(self) -> bool:
        return self.text_spec is not None

    @property
    def remembers_text(self) -> bool:
        """Whether what it keeps of earlier groups depends on the text; then another text is answered approximately."""
        return self.reads_text

    def forward(
        self,
        queries: Tensor | None,
        keys: Tensor,
        key_mask: Tensor | None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any = None,
    ) -> tuple[Tensor, Any]:
        """queries (R, Q, H), keys (R, K, C), key_mask (R, K), text (R, L) → hidden (R, Q + L, H) and the new memory.

        With a memory, the keys are the newest group: hidden sees the memory and the group, the new memory holds both.
        A row without a real key keeps its memory as it was. The memory given stays valid.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def empty_memory(self, queries: Tensor, text: Tensor | None, text_mask: Tensor | None) -> Any:
        """The memory of R rows that have seen nothing; queries (R, Q, H)."""
        raise ConfigError(f"{type(self).__name__} keeps no memory")

    def commit(
        self,
        queries: Tensor,
        keys: Tensor,
        key_mask: Tensor,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any,
        journal: Journal | None = None,
    ) -> Any:
        """The memory after the groups keys (R, T, K, C), mask (R, T, K), in order of time; nothing is evaluated for
        the prompt. With a journal the memory given may be used up. A trunk that can take many groups at once faster than one by one overrides this."""
        for group, mask in zip(keys.unbind(1), key_mask.unbind(1), strict=True):
            _, memory = self(queries, group, mask, text, text_mask, adapter=adapter, memory=memory)
        return memory

    def over_time(self, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """For trunks with `keeps_groups`: keys (R, T, N, C), mask (R, T, N) → (R, T / time, Q, H), mask alike."""
        raise NotImplementedError(f"{type(self).__name__} has no over_time")

    def evaluate(
        self,
        queries: Tensor,
        keys: Tensor,
        key_mask: Tensor | None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any,
    ) -> Tensor:
        """What `forward` says of the group, for a prompt; a trunk that need not make the new memory for it overrides
        this."""
        return self(queries, keys, key_mask, text, text_mask, adapter=adapter, memory=memory)[0]

    def replay(
        self,
        queries: Tensor,
        text: Tensor | None,
        text_mask: Tensor | None,
        *,
        adapter: Tensor | None = None,
        memory: Any,
    ) -> Any:
        """A memory for another text, made of what `memory` kept: approximate, since the groups are gone."""
        raise ConfigError(f"{type(self).__name__} cannot take another text for groups that it has seen")

    def account(self, memory: Any, row: int, most_tokens: int | None) -> dict[str, Any]:
        """What a row's memory holds, as JSON data for the Trace; `most_tokens` bounds its size, None tells all."""
        return {}

    def sites(self) -> Mapping[Site, nn.Linear]:
        """Linear layers that a port's adapter may change; none in a trunk that takes no adapters."""
        return {}

    def attach(self, adapters: Sequence[Adapter | None]) -> None:
        """Take the adapters of all ports of a connector, by the index that `forward` is given per row.

        A trunk without sites is never asked for one; one with other adapters than these (an expert mixture) may leave
        this out and read the index alone.
        """

    def refuse(self, **extras: Any) -> None:
        """Raise ConfigError when something came that this trunk would have to ignore."""
        given = [name for name, value in extras.items() if value is not None]
        if given:
            raise ConfigError(
                f"{type(self).__name__} takes no {' and no '.join(given)}; use a trunk that does, or leave it out"
            )


@dataclass(frozen=True, eq=False)
class Request:
    """What one port asks of its trunk."""

    keys: Tensor  # (R, K, C)
    mask: Tensor  # (R, K) bool
    item: Tensor  # (R,) int64, whose text the row reads
    queries: Tensor | None = None  # (R, Q, H)
    adapter: int = 0


def run_requests(trunk: Trunk, requests: Sequence[Request], text: TextTokens | None) -> list[Tensor]:
    """Answer all requests with one pass per number of queries (as a rule: one pass).

    Keys are padded to the longest request. Text positions are cut off: (R, Q, H) comes back for each request, or
    (R, K, H) from a trunk without queries.
    """
    results: list[Tensor | None] = [None] * len(requests)
    for members in _by_query_count(requests):
        batch = join_requests([requests[m] for m in members])
        hidden, _ = trunk(
            batch.queries, batch.keys, batch.mask, *text_rows(trunk, text, batch.item), **adapters(trunk, batch)
        )
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


@dataclass(frozen=True, eq=False)
class _Batch:
    keys: Tensor
    mask: Tensor
    item: Tensor
    queries: Tensor | None
    adapter: Tensor


def join_requests(requests: Sequence[Request]) -> _Batch:
    """Stack requests of equal query count along rows, keys padded to the longest."""
    longest = max(request.keys.shape[1] for request in requests)
    queries = [request.queries for request in requests if request.queries is not None]
    index = [torch.full_like(request.item, request.adapter) for request in requests]
    return _Batch(
        keys=torch.cat([functional.pad(r.keys, (0, 0, 0, longest - r.keys.shape[1])) for r in requests]),
        mask=torch.cat([functional.pad(r.mask, (0, longest - r.mask.shape[1])) for r in requests]),
        item=torch.cat([request.item for request in requests]),
        queries=torch.cat(queries) if queries else None,
        adapter=torch.cat(index),
    )


def adapters(trunk: Trunk, batch: _Batch) -> dict[str, Tensor]:
    """The adapter index per row, for a trunk that has adapters."""
    return {"adapter": batch.adapter} if trunk.has_adapters else {}


def text_rows(trunk: Trunk, text: TextTokens | None, item: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Each row's text (R, L) and its mask, for a trunk that reads text.

    Raises:
        ConfigError: the trunk reads text and none came.
    """
    if not trunk.reads_text:
        return None, None
    if text is None:
        raise ConfigError(
            f"{type(trunk).__name__} reads text, but none was given to begin(); give the question's tokens"
        )
    return text.ids[item], text.mask[item]
