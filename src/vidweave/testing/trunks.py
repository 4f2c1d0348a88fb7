"""What every trunk must do."""

# Axes: R rows, T groups in time, K keys, C key width, Q queries, H trunk width

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidweave.errors import ConfigError
from vidweave.testing.close import expect_close, expect_finite, expect_shape

__all__ = ["check_trunk"]

ROWS, QUERIES, KEYS = 3, 4, 6


def check_trunk(trunk: Any, *, seed: int = 0) -> None:
    """Check a trunk in eval mode on random keys; raises AssertionError.

    Masked keys do not matter, whatever they hold; a batch equals its rows one by one; a row without keys is finite;
    rows may be none. With a memory: pieces equal the whole, a value that was given stays valid, and an empty group
    changes nothing. Without one: a memory is refused. A trunk that keeps groups does so with whole clips of 3 x 3 tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    if trunk.keeps_groups:
        with torch.no_grad():
            _check_groups(trunk, torch.randn(ROWS, 4 * trunk.time, 9, trunk.key_width, generator=generator))
        return
    queries = torch.randn(ROWS, QUERIES, trunk.width, generator=generator)
    keys = torch.randn(ROWS, 5, KEYS, trunk.key_width, generator=generator)
    mask = torch.arange(KEYS) < torch.tensor([KEYS, 2, 0])[:, None]
    adapter = torch.zeros(ROWS, dtype=torch.long) if trunk.has_adapters else None
    with torch.no_grad():
        if trunk.has_memory:
            _check_memory(trunk, queries, keys, mask, adapter)
        else:
            _check_plain(trunk, queries if trunk.has_queries else None, keys[:, 0], mask, adapter)


def _rows(values: Tensor | None, rows: slice) -> Tensor | None:
    return None if values is None else values[rows]


def _check_plain(trunk: Any, queries: Tensor | None, keys: Tensor, mask: Tensor, adapter: Tensor | None) -> None:
    hidden, memory = trunk(queries, keys, mask, adapter=adapter)
    expect_shape(hidden, (ROWS, QUERIES if trunk.has_queries else KEYS, trunk.width), "hidden")
    expect_finite(hidden, "hidden")
    assert memory is None, "a trunk without a memory returns None for it"
    alone, _ = trunk(_rows(queries, slice(1, 2)), keys[1:2, :2], mask[1:2, :2], adapter=_rows(adapter, slice(1, 2)))
    expect_close(alone[0], hidden[1] if trunk.has_queries else hidden[1, :2], "one row alone, without its padding")
    nobody, _ = trunk(_rows(queries, slice(0)), keys[:0], mask[:0], adapter=_rows(adapter, slice(0)))
    expect_shape(nobody, (0, *hidden.shape[1:]), "hidden of no rows")
    try:
        trunk(queries, keys, mask, adapter=adapter, memory=object())
    except ConfigError:
        return
    raise AssertionError("a trunk without a memory must refuse one with ConfigError")


def _check_groups(trunk: Any, keys: Tensor) -> None:
    lengths = torch.tensor([4, 1, 0]) * trunk.time
    mask = (torch.arange(keys.shape[1]) < lengths[:, None])[..., None].expand(keys.shape[:3])
    hidden, shown = trunk.over_time(keys, mask)
    expect_shape(hidden, (ROWS, 4, trunk.num_tokens, trunk.width), "hidden")
    expect_finite(hidden, "hidden")
    assert torch.equal(shown.any(2).sum(1) * trunk.time, lengths), "groups that come out are those that went in"
    assert torch.equal(shown.any(2), shown.all(2)), "a group is real as a whole"
    alone, _ = trunk.over_time(keys[1:2, : trunk.time], mask[1:2, : trunk.time])
    expect_close(alone[0], hidden[1, :1], "one row alone, without its padding")
    other, _ = trunk.over_time(torch.where(mask[..., None], keys, torch.nan), mask)
    expect_close(other[shown], hidden[shown], "masked groups that hold something else")
    expect_shape(trunk.over_time(keys[:0], mask[:0])[0], (0, *hidden.shape[1:]), "hidden of no rows")
    try:
        trunk(None, keys[:, 0], None, memory=object())
    except ConfigError:
        return
    raise AssertionError("a trunk without a memory must refuse one with ConfigError")


def _check_memory(trunk: Any, queries: Tensor, keys: Tensor, mask: Tensor, adapter: Tensor | None) -> None:
    empty = trunk.empty_memory(queries, None, None)
    masks = mask[:, None].expand(-1, keys.shape[1], -1)

    def ask(memory: Any) -> Tensor:
        hidden, _ = trunk(queries, keys[:, 4], mask, adapter=adapter, memory=memory)
        expect_shape(hidden, (ROWS, QUERIES, trunk.width), "hidden")
        expect_finite(hidden, "hidden")
        return hidden

    first = ask(empty)
    whole = trunk.commit(queries, keys[:, :4], masks[:, :4], adapter=adapter, memory=empty)
    expect_close(ask(empty), first, "a memory that was given to commit")
    piece = trunk.commit(queries, keys[:, :1], masks[:, :1], adapter=adapter, memory=empty)
    piece = trunk.commit(queries, keys[:, 1:4], masks[:, 1:4], adapter=adapter, memory=piece)
    expect_close(ask(piece), ask(whole), "a memory in pieces")
    _, stepped = trunk(queries, keys[:, 0], mask, adapter=adapter, memory=empty)
    once = trunk.commit(queries, keys[:, :1], masks[:, :1], adapter=adapter, memory=empty)
    expect_close(ask(stepped), ask(once), "the memory that forward returns")
    nothing = trunk.commit(queries, keys[:, :2], torch.zeros_like(masks[:, :2]), adapter=adapter, memory=whole)
    expect_close(ask(nothing), ask(whole), "a memory after groups without a real key")
