"""Memory of a Q-Former: a visual bank of encoder tokens, and for each layer a query bank of its inputs.

Cross-attention attends to the visual bank and the current segment; the self-attention of each layer to that layer's
bank and the current segment. The memory is a value: the Q-Former holds weights only. Exact, and much less work than segment by segment:

- keys and values are projected once, and merge as their entries do;
- the first layer's input is the same at every segment, so its bank would hold copies of one entry and change nothing but
  the gradient, which is scaled instead (with dropout the copies differ, and the bank is kept);
- before the last segment, the last layer needs its input only, and layers after the last bank nothing at all;
- `commit` goes layer by layer over many segments: all projections and feed-forwards in one product, with a light scan for
  the banks and their attention;
- only the last segment has a gradient.
"""

# Axes: R rows, T segments, Q queries, L text tokens, X = Q + L, K keys of a segment, C key width, H hidden width,
#       S slots of a bank

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.connectors.qformer_layers import AdaptedLayer, QFormerLayer, QFormerStack
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import Attention, mix_heads
from vidweave.nn.bank import Bank, BankRule, Move, UndoLog, append_, blend_, empty_bank, place_, runs, shorten_
from vidweave.types import TrunkInput

__all__ = ["MemoryConfig", "Projected", "QFormerMemory", "account", "commit", "empty_memory", "evaluate", "replay"]


MOST_LOGGED = 4  # up to this many segments are pushed in place with an undo log; for more, one copy is cheaper


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Memory of earlier segments. The current segment is always attended to as well.

    Attributes:
        length: Entries per bank (M).
        policy: How a full bank shrinks: `merge` merges the most similar neighbors per token; `merge_frames` whole segments;
            `fifo` drops the oldest; `mean` keeps one running mean; `none` keeps nothing, so that only the last segment
            counts; `concat` keeps everything and refuses more than `length` segments.
        window: Neighbors merged at one overflow (`merge`, `merge_frames`).
        banks: Banks to keep.
        chunk: Segments that go through a layer together.
    """

    length: int
    policy: Literal["merge", "merge_frames", "fifo", "mean", "none", "concat"] = "merge"
    window: int = 1
    banks: Literal["both", "visual", "query"] = "both"
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.length < 1 or self.chunk < 1:
            raise ConfigError(
                f"a memory needs length and chunk of at least 1, got {self.length} and {self.chunk}; "
                "memory=None is a Q-Former that processes each segment separately"
            )
        if self.window > 1 and self.policy not in ("merge", "merge_frames"):
            raise ConfigError(f"window ({self.window}) belongs to the policies that merge, not to {self.policy!r}")
        self.rule()

    def rule(self) -> BankRule:
        """The rule of a bank with these settings."""
        if self.policy in ("merge", "merge_frames"):
            return BankRule(limit=self.length, policy=self.policy, window=self.window)  # type: ignore[arg-type]
        limit = {"mean": 1, "none": 0}.get(self.policy, self.length)
        policy = {"mean": "merge", "concat": "refuse"}.get(self.policy, "drop")
        return BankRule(limit=limit, policy=policy)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Projected:
    """A bank and the projections of its entries by attention layers: keys and values concatenated, (R, S, N, 2H) each."""

    bank: Bank
    pairs: tuple[Tensor, ...] = ()

    def clone(self) -> Projected:
        """A copy with buffers of its own, which may be changed in place."""
        return Projected(self.bank.clone(), tuple(pair.clone() for pair in self.pairs))

    def widen(self, tokens: int) -> Projected:
        """Grow to at least `tokens` positions."""
        more = tokens - self.bank.length.shape[1]
        if more <= 0:
            return self
        wide = (torch.cat([p, p.new_zeros(*p.shape[:2], more, p.shape[3])], 2) for p in self.pairs)
        return Projected(self.bank.widen(tokens), tuple(wide))


@dataclass(frozen=True, eq=False)
class QFormerMemory:
    """Memory of all segments but the current one.

    Attributes:
        visual: Bank of the encoder's tokens, with one key-value pair per cross-attention layer; None: not kept.
        layers: Per layer, the bank of its inputs (queries and text); None: not kept, or not needed.
        count: (R,) number of segments seen.
    """

    visual: Projected | None
    layers: tuple[Projected | None, ...]
    count: Tensor


@dataclass(frozen=True, eq=False)
class _Step:
    """Effect of one segment on a bank: rows with new entries, the attention mask at that time, and the merges after it."""

    at: Tensor
    used: int
    visible: Tensor | None
    moves: list[Move]


def empty_memory(stack: QFormerStack, config: MemoryConfig, inputs: TrunkInput) -> QFormerMemory:
    """Create an empty memory; only the width of the keys is read."""
    queries, limit = _queries(inputs), config.rule().limit
    rows, tokens, hidden = len(queries), _num_tokens(inputs), queries.shape[2]

    def start(width: int, tokens: int, num_pairs: int) -> Projected:
        bank = empty_bank(rows, limit, tokens, width, queries)
        pairs = (bank.values.new_zeros(rows, limit + 1, tokens, 2 * hidden) for _ in range(num_pairs))
        return Projected(bank, tuple(pairs))

    num_cross = sum(layer.crossattention is not None for layer in stack.layers)
    first = 0 if stack.has_dropout else 1
    kept = [config.banks != "visual" and index >= first for index in range(len(stack.layers))]
    return QFormerMemory(
        visual=start(inputs.keys.shape[-1], 0, num_cross) if config.banks != "query" else None,
        layers=tuple(start(hidden, tokens, 1) if keep else None for keep in kept),
        count=torch.zeros(rows, dtype=torch.long, device=queries.device),
    )


@torch.no_grad()
def commit(
    stack: QFormerStack,
    config: MemoryConfig,
    inputs: TrunkInput,
    memory: QFormerMemory,
    undo_log: UndoLog | None = None,
) -> QFormerMemory:
    """Return the memory after time steps keys (R, T, K, C), none of which is the last.

    The memory given stays valid; with an `undo_log` it may be consumed instead, which saves a copy.

    Raises:
        ShapeError: more segments than a `concat` memory can hold.
    """
    keys, key_mask = inputs.keys, inputs.mask
    _check_room(config, memory, keys, key_mask)
    if not keys.shape[1]:
        return memory
    undo_log = undo_log if keys.shape[1] <= MOST_LOGGED else None
    visual = None if memory.visual is None else memory.visual.widen(keys.shape[2])
    visual = visual if visual is None or undo_log is not None else visual.clone()
    missing = 0 if visual is None else visual.bank.length.shape[1] - keys.shape[2]
    if missing and key_mask is None:
        key_mask = keys.new_ones(keys.shape[:3], dtype=torch.bool)
    real = None if key_mask is None or bool(key_mask.all()) else functional.pad(key_mask, (0, missing))
    keys = functional.pad(keys, (0, 0, 0, missing))
    layers = tuple(held if held is None or undo_log is not None else held.clone() for held in memory.layers)
    memory = QFormerMemory(visual, layers, memory.count)
    inputs = inputs.with_keys(keys, real)
    for start in range(0, keys.shape[1], config.chunk):
        memory = _commit_(stack, config, inputs.steps(slice(start, start + config.chunk)), memory, undo_log)
    return memory


def evaluate(stack: QFormerStack, config: MemoryConfig, inputs: TrunkInput, memory: QFormerMemory) -> Tensor:
    """Compute hidden states (R, X, H) of keys (R, K, C) as the last time step, given the memory; changes nothing.

    With a gradient the banks are projected again, since the projections are trained through them too.
    """
    queries = _queries(inputs)
    states = stack.embeddings(queries, inputs.text)
    mask = stack.self_mask(queries, inputs.text, inputs.text_mask)
    crossed = 0
    for layer, held in zip(stack.layers, memory.layers, strict=True):
        inner = states
        if held is None and torch.is_grad_enabled():
            inner = _like_copies(states, memory, config)
        states = layer.attention.output(_beside(layer.attention.attention, states, inner, mask, held, 0), states)
        seen = states[:, : queries.shape[1]]
        if layer.crossattention is not None:
            mixed = _beside(layer.crossattention.attention, seen, inputs.keys, inputs.mask, memory.visual, crossed)
            seen = layer.crossattention.output(mixed, seen)
            crossed += 1
        states = layer.feed(seen, states[:, queries.shape[1] :])
    return states


def replay(stack: QFormerStack, config: MemoryConfig, inputs: TrunkInput, memory: QFormerMemory) -> QFormerMemory:
    """Rebuild the memory with this text, as if each entry of the visual bank had been one segment.

    Raises:
        ConfigError: there is no visual bank to read.
    """
    if memory.visual is None:
        raise ConfigError("a memory without a visual bank (banks='query') cannot be read with another text")
    fresh = empty_memory(stack, config, inputs)
    if not any(fresh.layers):  # nothing in the memory depends on the text
        return memory
    if memory.visual.bank.length.shape[1]:
        values, size = memory.visual.bank.in_time()
        seen = inputs.with_keys(values.to(_queries(inputs).dtype), size > 0)
        fresh = commit(stack, config, seen, fresh)
    return QFormerMemory(memory.visual, fresh.layers, memory.count)


def account(memory: QFormerMemory, row: int, most_tokens: int | None) -> dict[str, Any]:
    """Summarize a row's banks as JSON data: bank → token positions, and per position the number of segments in each entry
    and its similarity to the next entry.

    Args:
        most_tokens: Number of evenly chosen positions of the visual bank to report; None reports all positions of all banks.
    """
    banks = {"visual": memory.visual} if memory.visual is not None else {}
    if most_tokens is None or not banks:
        banks |= {f"layer {index}": held for index, held in enumerate(memory.layers) if held is not None}
    if most_tokens is not None:
        banks = dict(list(banks.items())[-1:])
    return {name: runs(held.bank, row, most_tokens) for name, held in banks.items()}


def _beside(
    attention: Attention, states: Tensor, new: Tensor, mask: Tensor | None, held: Projected | None, number: int
) -> Tensor:
    """Attention of states (R, X, H) to a bank and the segment's own entries `new` (R, N, C)."""
    if held is None or not held.bank.length.shape[1]:
        return attention(states, new, mask)
    own = new.new_ones(new.shape[:2], dtype=torch.bool) if mask is None else mask
    visible = torch.cat([held.bank.real.flatten(1, 2), own], 1)
    if torch.is_grad_enabled():
        return attention(states, torch.cat([held.bank.values.flatten(1, 2).to(new.dtype), new], 1), visible)
    pair = torch.cat([held.pairs[number].flatten(1, 2).to(new.dtype), _project(attention, new)], 1)
    return _mix(attention, attention.query(states), pair, visible)


def _like_copies(states: Tensor, memory: QFormerMemory, config: MemoryConfig) -> Tensor:
    """Same values, with the gradient that they would have beside n copies of themselves in a bank without a gradient."""
    if config.banks == "visual":
        return states
    count = config.rule().length_after(memory.count)[:, None, None].to(states.dtype)
    return states / (count + 1) + states.detach() * (count / (count + 1))


def _commit_(
    stack: QFormerStack, config: MemoryConfig, inputs: TrunkInput, memory: QFormerMemory, undo_log: UndoLog | None
) -> QFormerMemory:
    """Commit one chunk; changes the buffers of `memory`."""
    keys, real, num_queries = inputs.keys, inputs.mask, _queries(inputs).shape[1]
    rule = config.rule()
    masks = _text_masks(stack, inputs)
    visual, steps = _visual_(memory.visual, keys, real, rule, undo_log)
    states = _embed(stack, inputs, memory)
    layers = list(memory.layers)
    crossed = 0
    last = max((index for index, held in enumerate(layers) if held is not None), default=-1)
    for index, layer in enumerate(stack.layers):
        is_last = index >= last
        states, layers[index] = _self_(layer, states, layers[index], masks, rule, is_last, undo_log)
        seen = states[:, :, :num_queries]
        if layer.crossattention is not None:
            pair = None if visual is None else visual.pairs[crossed]
            seen = _cross_(layer, seen.expand(-1, keys.shape[1], -1, -1), keys, real, pair, steps, is_last, undo_log)
            crossed += 1
        if not is_last:
            states = layer.feed(seen, states[:, :, num_queries:])
    return QFormerMemory(visual, tuple(layers), memory.count + _count(keys, real))


def _count(keys: Tensor, real: Tensor | None) -> Tensor | int:
    """Real segments of each row (R,)."""
    return keys.shape[1] if real is None else real.any(-1).sum(1)


def _queries(inputs: TrunkInput) -> Tensor:
    assert inputs.queries is not None  # the Q-Former has checked them
    return inputs.queries


def _num_tokens(inputs: TrunkInput) -> int:
    """X, queries and text."""
    return _queries(inputs).shape[1] + (0 if inputs.text is None else inputs.text.shape[1])


def _embed(stack: QFormerStack, inputs: TrunkInput, memory: QFormerMemory) -> Tensor:
    """(R, T, X, H) inputs of the first layer; T is 1 where they are the same for all time steps."""
    queries, text, steps = _queries(inputs), inputs.text, inputs.keys.shape[1]
    if memory.layers[0] is None:
        return stack.embeddings(queries, text)[:, None]
    rows = queries.repeat_interleave(steps, 0), None if text is None else text.repeat_interleave(steps, 0)
    return stack.embeddings(*rows).unflatten(0, (-1, steps))


def _text_masks(stack: QFormerStack, inputs: TrunkInput) -> tuple[Tensor | None, Tensor | None]:
    """(R, X) real positions, and (R, T or 1, X) those that add an entry; None where all do."""
    mask = stack.self_mask(_queries(inputs), inputs.text, inputs.text_mask)
    mask = None if mask is None or bool(mask.all()) else mask
    leaves = None if mask is None else mask[:, None]
    if inputs.mask is not None:
        is_real = inputs.mask.any(-1)[..., None].expand(-1, -1, _num_tokens(inputs))
        leaves = is_real if leaves is None else is_real & leaves
    return mask, leaves


def _visual_(
    held: Projected | None, keys: Tensor, real: Tensor | None, rule: BankRule, undo_log: UndoLog | None
) -> tuple[Projected | None, list[_Step]]:
    """Scan the segments into the visual bank; its pairs follow later, layer by layer."""
    if held is None:
        return None, []
    bank, steps = held.bank, []
    for step in range(keys.shape[1]):
        bank, at = append_(bank, keys[:, step], _at(real, step), rule, undo_log)
        used, visible = _visible(bank)
        bank, moves = shorten_(bank, rule, undo_log)
        steps.append(_Step(at, used, visible, moves))
    return replace(held, bank=bank), steps


def _self_(
    layer: QFormerLayer | AdaptedLayer,
    states: Tensor,
    held: Projected | None,
    masks: tuple[Tensor | None, Tensor | None],
    rule: BankRule,
    is_last: bool,
    undo_log: UndoLog | None,
) -> tuple[Tensor, Projected | None]:
    """Self-attention of all segments (R, T, X, H), each with the bank as it was then. The last layer only stores its inputs."""
    attention = layer.attention.attention
    if held is None:
        flat = states.flatten(0, 1)
        mask = masks[0] if masks[0] is None else masks[0].repeat_interleave(states.shape[1], 0)
        return (states if is_last else layer.attention(flat, None, mask).unflatten(0, states.shape[:2])), None
    new, (pair,) = _project(attention, states), held.pairs
    query = None if is_last else attention.query(states)
    bank, mixed = held.bank, []
    for step in range(states.shape[1]):
        bank, at = append_(bank, states[:, step], _at(masks[1], step), rule, undo_log)
        place_(pair, at, new[:, step], undo_log)
        if query is not None:
            mixed.append(_mix(attention, query[:, step], *_window(pair, *_visible(bank), states.dtype)))
        bank, moves = shorten_(bank, rule, undo_log)
        for move in moves:
            blend_(pair, move, undo_log)
    held = replace(held, bank=bank)
    return (states if query is None else layer.attention.output(torch.stack(mixed, 1), states)), held


def _cross_(
    layer: QFormerLayer | AdaptedLayer,
    seen: Tensor,
    keys: Tensor,
    real: Tensor | None,
    pair: Tensor | None,
    steps: Sequence[_Step],
    is_last: bool,
    undo_log: UndoLog | None,
) -> Tensor:
    """Cross-attention of all segments' queries (R, T, Q, H), each to the visual bank as it was then."""
    cross = layer.crossattention
    assert cross is not None
    attention = cross.attention
    if pair is None:
        mask = None if real is None else real.flatten(0, 1)
        return seen if is_last else cross(seen.flatten(0, 1), keys.flatten(0, 1), mask).unflatten(0, seen.shape[:2])
    new = _project(attention, keys)
    query = None if is_last else attention.query(seen)
    mixed = []
    for number, step in enumerate(steps):
        place_(pair, step.at, new[:, number], undo_log)
        if query is not None:
            mixed.append(_mix(attention, query[:, number], *_window(pair, step.used, step.visible, seen.dtype)))
        for move in step.moves:
            blend_(pair, move, undo_log)
    return seen if query is None else cross.output(torch.stack(mixed, 1), seen)


def _project(attention: Attention, states: Tensor) -> Tensor:
    """(…, C) → keys and values side by side, (…, 2H)."""
    return torch.cat([attention.key(states), attention.value(states)], -1)


def _visible(bank: Bank) -> tuple[int, Tensor | None]:
    """Slots to attend to, and the mask of their entries (R, used * N); None: all. Slots fill up in order until the first
    merge; after it all are used."""
    if bank.filled is None:
        return bank.size.shape[1], bank.real.flatten(1, 2)
    return bank.filled, None


def _window(pair: Tensor, used: int, visible: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    return pair[:, :used].flatten(1, 2).to(dtype), visible


def _mix(attention: Attention, query: Tensor, pair: Tensor, mask: Tensor | None) -> Tensor:
    """Projected queries (R, X, H) over keys and values (R, K, 2H) → (R, X, H)."""
    key, value = pair.chunk(2, -1)
    return mix_heads(attention, query, key, value, mask)


def _at(mask: Tensor | None, step: int) -> Tensor | None:
    """(R, T or 1, N) → (R, N)."""
    return None if mask is None else mask[:, min(step, mask.shape[1] - 1)]


def _check_room(config: MemoryConfig, memory: QFormerMemory, keys: Tensor, key_mask: Tensor | None) -> None:
    if config.policy == "concat" and len(keys):
        count = int((memory.count + _count(keys, key_mask)).max())
        if count > config.length:
            raise ShapeError(
                f"{count} segments and the current one exceed the memory's length ({config.length}); "
                "policy='concat' drops none: increase length, or choose another policy"
            )
