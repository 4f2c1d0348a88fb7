"""Reference implementation of a Q-Former's memory, time step by time step as in the paper's code, for tests and benchmarks.

Every bank is a growing tensor, projected and compared again at every time step. The library does not use it.
"""

# Axes: R rows, T time steps, Q queries, X queries and text, K keys of a time step, C key width, H hidden width

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidweave.connectors.qformer import QFormer
from vidweave.nn.bank import compress

__all__ = ["PlainMemory", "plain_loop"]


@dataclass
class PlainMemory:
    """Banks (R, n, tokens, width) and their sizes (R, n, tokens), in temporal order."""

    length: int
    values: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, Tensor] = field(default_factory=dict)

    def beside(self, name: str, new: Tensor) -> Tensor:
        """Return the entries of bank `name`, then `new` (R, tokens, width)."""
        return new[:, None] if name not in self.values else torch.cat([self.values[name], new[:, None]], 1)

    def keep(self, name: str, new: Tensor, is_last: bool) -> None:
        """Append without gradient; compress unless the clip ends here."""
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
    """Process one time step (R, K, C) without padding: hidden (R, X, H); `memory` is changed in place."""
    states = qformer.embeddings(queries, text)
    mask = qformer.stack().self_mask(queries, text, text_mask)
    visual = memory.beside("visual", keys).flatten(1, 2)
    for number, layer in enumerate(qformer.layers):
        name, inner = f"layer.{number}", states
        beside = memory.beside(name, inner)
        own_mask = None if mask is None else mask.repeat(1, beside.shape[1])
        states = layer.attention(inner, beside.flatten(1, 2), own_mask)
        memory.keep(name, inner, is_last)
        queries_now = states[:, : queries.shape[1]]
        if layer.crossattention is not None:
            queries_now = layer.crossattention(queries_now, visual, None)
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
    """Process all time steps (R, T, K, C).

    Returns:
        hidden (R, X, H) of the last step; hidden of every step; the memory before the last step.
    """
    memory, hidden = PlainMemory(length), []
    before = PlainMemory(length)
    for step, frame in enumerate(keys.unbind(1)):
        is_last = step == keys.shape[1] - 1
        before = PlainMemory(length, dict(memory.values), dict(memory.sizes)) if is_last else before
        hidden.append(plain_step(qformer, queries, frame, text, text_mask, memory, is_last))
    return hidden[-1], hidden, before
