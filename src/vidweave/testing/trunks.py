"""Contract checks of trunks."""

# Axes: R rows, T time steps, K keys, C key width, Q queries, H trunk width

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import ConfigError
from vidweave.testing.close import expect_close, expect_finite, expect_shape
from vidweave.types import KeepsMemory, RoutesExperts, SeesClips, TakesAdapters, TrunkInput

__all__ = ["check_trunk"]

ROWS, QUERIES, KEYS = 3, 4, 6


def check_trunk(trunk: Any, *, seed: int = 0) -> None:
    """Check a trunk in eval mode on random keys; raises AssertionError.

    Masked keys do not matter, whatever they hold; a batch equals its rows one by one; a row without keys is finite;
    there may be no rows. With a memory: pieces equal the whole, a value that was given stays valid, and a step without
    a real key changes nothing. Without one: inputs that the trunk would ignore are refused. A trunk that takes
    clips gets whole ones of 3 x 3 tokens.
    """
    generator, width = torch.Generator().manual_seed(seed), trunk.key_width
    _attach_router(trunk)
    with torch.no_grad():
        if isinstance(trunk, SeesClips):
            _check_clips(trunk, torch.randn(ROWS, 4 * trunk.time, 9, width, generator=generator))
            return
        keys = torch.randn(ROWS, 5, KEYS, width, generator=generator)
        inputs = TrunkInput(_queries(trunk, generator), keys, _mask(keys), adapter=_adapter(trunk))
        if isinstance(trunk, KeepsMemory):
            _check_memory(trunk, inputs)
        else:
            _check_plain(trunk, inputs.step(0))


def _attach_router(trunk: Any) -> None:
    """A router for the one port of a trunk with experts: it weighs them equally, whatever the input."""
    if isinstance(trunk, RoutesExperts):
        count = trunk.num_experts
        trunk.attach_routers([lambda tokens: tokens.new_full((*tokens.shape[:-1], count), 1 / count)])


def _queries(trunk: Any, generator: torch.Generator) -> Tensor | None:
    return None if trunk.query_width is None else torch.randn(ROWS, QUERIES, trunk.query_width, generator=generator)


def _mask(keys: Tensor) -> Tensor:
    """(R, T, K): all keys of the first row are real, two of the second, none of the third."""
    return (torch.arange(KEYS) < torch.tensor([KEYS, 2, 0])[:, None])[:, None].expand(keys.shape[:3])


def _adapter(trunk: Any) -> Tensor | None:
    has_adapters = isinstance(trunk, TakesAdapters) and trunk.has_adapters
    is_indexed = has_adapters or isinstance(trunk, RoutesExperts)
    return torch.zeros(ROWS, dtype=torch.long) if is_indexed else None


def _rows(inputs: TrunkInput, rows: slice, keys: int = KEYS) -> TrunkInput:
    """Some rows, with their first keys only."""
    parts = {"queries": inputs.queries, "adapter": inputs.adapter}
    chosen = {name: None if part is None else part[rows] for name, part in parts.items()}
    assert inputs.mask is not None
    return replace(inputs, keys=inputs.keys[rows, :keys], mask=inputs.mask[rows, :keys], **chosen)


def _check_plain(trunk: Any, inputs: TrunkInput) -> None:
    has_queries = inputs.queries is not None
    hidden = trunk(inputs)
    expect_shape(hidden, (ROWS, QUERIES if has_queries else KEYS, trunk.width), "hidden")
    expect_finite(hidden, "hidden")
    alone = trunk(_rows(inputs, slice(1, 2), keys=2))
    expect_close(alone[0], hidden[1] if has_queries else hidden[1, :2], "one row alone, without its padding")
    expect_shape(trunk(_rows(inputs, slice(0))), (0, *hidden.shape[1:]), "hidden of no rows")
    _check_refusals(trunk, inputs)


def _check_refusals(trunk: Any, inputs: TrunkInput) -> None:
    extras: dict[str, Any] = {}
    if inputs.adapter is None:
        extras["adapter"] = torch.zeros(ROWS, dtype=torch.long)
    if inputs.queries is None:
        extras["queries"] = torch.zeros(ROWS, QUERIES, trunk.width)
    for name, value in extras.items():
        try:
            trunk(replace(inputs, **{name: value}))
        except ConfigError:
            continue
        raise AssertionError(f"a trunk must refuse {name} that it does not take with ConfigError")


def _check_clips(trunk: Any, keys: Tensor) -> None:
    lengths = torch.tensor([4, 1, 0]) * trunk.time
    mask = (torch.arange(keys.shape[1]) < lengths[:, None])[..., None].expand(keys.shape[:3])
    hidden, shown = trunk.over_time(keys, mask)
    expect_shape(hidden, (ROWS, 4, trunk.num_tokens, trunk.width), "hidden")
    expect_finite(hidden, "hidden")
    assert torch.equal(shown.any(2).sum(1) * trunk.time, lengths), "the number of output time steps is wrong"
    assert torch.equal(shown.any(2), shown.all(2)), "all tokens of a time step must be real, or none"
    alone, _ = trunk.over_time(keys[1:2, : trunk.time], mask[1:2, : trunk.time])
    expect_close(alone[0], hidden[1, :1], "one row alone, without its padding")
    other, _ = trunk.over_time(torch.where(mask[..., None], keys, torch.nan), mask)
    expect_close(other[shown], hidden[shown], "other values in masked time steps")
    expect_shape(trunk.over_time(keys[:0], mask[:0])[0], (0, *hidden.shape[1:]), "hidden of no rows")
    _check_refusals(trunk, TrunkInput(None, keys[:, 0]))


def _check_memory(trunk: Any, inputs: TrunkInput) -> None:
    empty = trunk.empty_memory(inputs)

    def ask(memory: Any) -> Tensor:
        hidden = trunk.evaluate(inputs.step(4), memory)
        expect_shape(hidden, (ROWS, QUERIES, trunk.width), "hidden")
        expect_finite(hidden, "hidden")
        return hidden

    first = ask(empty)
    whole = trunk.commit(inputs.steps(slice(4)), empty)
    expect_close(ask(empty), first, "a memory that was given to commit")
    piece = trunk.commit(inputs.steps(slice(1)), empty)
    piece = trunk.commit(inputs.steps(slice(1, 4)), piece)
    expect_close(ask(piece), ask(whole), "a memory in pieces")
    nothing = inputs.steps(slice(2))
    nothing = trunk.commit(nothing.with_keys(nothing.keys, torch.zeros_like(nothing.mask)), whole)  # type: ignore[arg-type]
    expect_close(ask(nothing), ask(whole), "a memory after time steps without a real key")
