"""The memory of a Q-Former segment by segment, as the paper's code does it: the reference of tests and benchmarks.

Every bank is a growing tensor, projected and compared afresh at every segment. Nothing here is used by the library.
"""

# Axes: R rows, T segments, Q queries, X queries and text, K keys of a segment, C key width, H hidden width

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidweave.connectors.qformer import QFormer
from vidweave.nn.bank import compress

__all__ = ["PlainMemory", "plain_loop"]


@dataclass
class PlainMemory:
    """Banks (R, n, tokens, width) and their sizes (R, n, tokens), in order of time."""

    length: int
    values: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, Tensor] = field(default_factory=dict)

    def beside(self, name: str, new: Tensor) -> Tensor:
        """Entries of bank `name`, then `new` (R, tokens, width)."""
        return new[:, None] if name not in self.values else torch.cat([self.values[name], new[:, None]], 1)

    def keep(self, name: str, new: Tensor, is_last: bool) -> None:
        """Append without gradient; shorten unless the clip ends here."""
        size = new.new_ones(new.shape[0], 1, new.shape[1])
        size = size if name not in self.sizes else torch.cat([self.sizes[name], size], 1)
        values = self.beside(name, new).detach()
        if not is_last and values.shape[1] > self.length:
            values, size, _ = compress(values, size)
        self.values[name], self.sizes[name] = values, size


def plain_step(
    qformer: QFormer,
    queries: Tensor,
    keys: Tensor,
    text: Tensor | None,
    text_mask: Tensor | None,
    memory: PlainMemory,
    is_last: bool,
) -> Tensor:
    """One segment (R, K, C), all of it real → hidden (R, X, H); `memory` is changed."""
    states = qformer.embeddings(queries, text)
    mask = qformer.stack().self_mask(queries, text, text_mask)
    seen = memory.beside("visual", keys).flatten(1, 2)
    for number, layer in enumerate(qformer.layers):
        name, inner = f"layer.{number}", states
        beside = memory.beside(name, inner)
        own_mask = None if mask is None else mask.repeat(1, beside.shape[1])
        states = layer.attention(inner, beside.flatten(1, 2), own_mask)
        memory.keep(name, inner, is_last)
        queries_now = states[:, : queries.shape[1]]
        if layer.crossattention is not None:
            queries_now = layer.crossattention(queries_now, seen, None)
        states = layer.feed(queries_now, states[:, queries.shape[1] :])
    memory.keep("visual", keys, is_last)
    return states


def plain_loop(
    qformer: QFormer,
    queries: Tensor,
    keys: Tensor,
    length: int,
    text: Tensor | None = None,
    text_mask: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], PlainMemory]:
    """All segments (R, T, K, C), the last one as last.

    Returns:
        hidden (R, X, H) of the last segment; hidden of every segment; the memory when the last one arrived.
    """
    memory, hidden = PlainMemory(length), []
    before = PlainMemory(length)
    for step, segment in enumerate(keys.unbind(1)):
        is_last = step == keys.shape[1] - 1
        before = PlainMemory(length, dict(memory.values), dict(memory.sizes)) if is_last else before
        hidden.append(plain_step(qformer, queries, segment, text, text_mask, memory, is_last))
    return hidden[-1], hidden, before
