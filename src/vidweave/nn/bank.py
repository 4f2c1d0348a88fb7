"""A bounded memory of what came before: one bank of entries per token position, shortened when it overflows.

A bank holds at most `limit` entries; each is the mean of a run of neighbours in time, and knows how many. Entries stand
in slots and do not move: attention does not care for their order, so a merge touches two slots and everything that
travels with the entries (projected keys and values, which are affine in them) follows with the same `Move`.

Functions that end in an underscore change the buffers they are given; all others are pure.
"""

# Axes: R rows, S slots = limit + 1 (one is free for the newest entry), N tokens, C width, T groups in time

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.errors import ConfigError, ShapeError

__all__ = [
    "Bank",
    "BankRule",
    "Journal",
    "Move",
    "append_",
    "blend_",
    "compress",
    "empty_bank",
    "place_",
    "push",
    "runs",
    "shorten_",
]


@dataclass(frozen=True, kw_only=True)
class BankRule:
    """What happens to an entry too many.

    Attributes:
        limit: Entries that stay.
        policy: `merge` joins, per token position, the two neighbours that are most alike; `merge_frames` joins the same
            two neighbours at all positions, by the mean of their likeness; `drop` forgets the oldest; `refuse` raises.
        window: Neighbours that are joined at an overflow; above 1 the next ones then find room without merging.
    """

    limit: int
    policy: Literal["merge", "merge_frames", "drop", "refuse"] = "merge"
    window: int = 1

    def __post_init__(self) -> None:
        least = 0 if self.policy == "drop" else 1
        if self.limit < least:
            raise ConfigError(f"a bank that overflows by {self.policy!r} keeps at least {least}, got {self.limit}")
        if not 1 <= self.window <= max(1, self.limit):
            raise ConfigError(f"window ({self.window}) must be between 1 and the bank's limit ({self.limit})")

    @property
    def merges(self) -> bool:
        return self.policy in ("merge", "merge_frames")

    def length_after(self, count: Tensor) -> Tensor:
        """Entries that are left of `count` that came."""
        beyond = self.limit + 1 - self.window + (count - self.limit - 1).remainder(self.window)
        return torch.where(count <= self.limit, count, beyond)


@dataclass(frozen=True, eq=False)
class Bank:
    """Entries of R rows.

    Attributes:
        values: (R, S, N, C) by slot, float32 or float64: a mean of hundreds does not fit in less.
        size: (R, S, N) how many each slot averages; 0 where it is free.
        order: (R, S, N) int64, the slot of the first, second, … entry in time; free slots stand behind.
        length: (R, N) int64 entries.
        similarity: (R, S - 1, N) cosine of each entry and the next in time; -inf behind the last.
        filled: `length` where it is one number for everything and known without asking the device; else None.
    """

    values: Tensor
    size: Tensor
    order: Tensor
    length: Tensor
    similarity: Tensor
    filled: int | None = 0

    @property
    def real(self) -> Tensor:
        """(R, S, N) True where a slot holds an entry."""
        return self.size > 0

    def in_time(self) -> tuple[Tensor, Tensor]:
        """Entries and sizes in order of time: (R, S, N, C) and (R, S, N), zeros behind the last."""
        size = self.size.gather(1, self.order)
        values = self.values.gather(1, self.order[..., None].expand_as(self.values))
        return values.masked_fill((size == 0)[..., None], 0.0), size

    def clone(self) -> Bank:
        """A copy whose values may be changed; the bookkeeping is never changed in place."""
        return replace(self, values=self.values.clone())

    def widen(self, tokens: int) -> Bank:
        """The same bank with room for `tokens` positions; new ones are empty."""
        more = tokens - self.length.shape[1]
        if more <= 0:
            return self
        wide = empty_bank(len(self.length), self.size.shape[1] - 1, more, self.values.shape[-1], self.values)
        names = {"values": 2, "size": 2, "order": 2, "similarity": 2, "length": 1}
        joined = {name: torch.cat([getattr(self, name), getattr(wide, name)], axis) for name, axis in names.items()}
        return Bank(**joined, filled=0 if self.filled == 0 else None)


@dataclass(frozen=True, eq=False)
class Move:
    """One merge, as everything that travels with a bank has to follow it.

    `keep` and `gone` (R * N,) are rows of a buffer flattened to (R * S * N, …): the first becomes the mean of both, with
    `weight` (R * N, 1) for the second; the second is free then. Where nothing is merged they are the same row.
    """

    keep: Tensor
    gone: Tensor
    weight: Tensor


class Journal:
    """Leave to change buffers in place, and the way back: ``with Journal() as journal``.

    A step writes into two slots per position, a free one and that of a merged entry; what stood there is noted, and put
    back if the block is left by an exception. On success what was given in is used up.
    """

    def __init__(self) -> None:
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(self, rows: Tensor, index: Tensor, values: Tensor) -> None:
        """Rows `index` of `rows` are about to change; they hold `values`."""
        self._before.append((rows, index, values))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            for rows, index, values in reversed(self._before):
                rows.index_copy_(0, index, values)
        self._before.clear()


def empty_bank(rows: int, limit: int, tokens: int, width: int, like: Tensor) -> Bank:
    """A bank that has seen nothing, on the device of `like`, in its dtype if that is exact enough."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    slots = torch.arange(limit + 1, device=like.device)
    return Bank(
        values=like.new_zeros(rows, limit + 1, tokens, width, dtype=dtype),
        size=like.new_zeros(rows, limit + 1, tokens, dtype=dtype),
        order=slots[None, :, None].repeat(rows, 1, tokens),
        length=slots.new_zeros(rows, tokens),
        similarity=like.new_full((rows, limit, tokens), -torch.inf, dtype=dtype),
    )


def push(bank: Bank, new: Tensor, real: Tensor | None, rule: BankRule) -> Bank:
    """The bank after one more group (R, N, C) with mask (R, N); None: all real. The bank given stays as it is.

    Raises:
        ShapeError: the bank is full and the rule is to refuse.
    """
    if rule.policy == "refuse" and bank.length.numel() and int(bank.length.max()) >= rule.limit:
        raise ShapeError(f"the memory is full with {rule.limit} groups and its policy forgets none; make it longer")
    bank, _ = append_(bank.clone(), new, real, rule)
    bank, _ = shorten_(bank, rule)
    return bank


def compress(values: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One merge as the papers write it, without bookkeeping: the reference for all that is done faster here.

    Args:
        values: (R, T, N, C) in order of time, size: (R, T, N).

    Returns:
        values (R, T - 1, N, C), size (R, T - 1, N), and which pair was merged (R, N), the first of the most alike.
    """
    likeness = functional.cosine_similarity(values[:, :-1], values[:, 1:], dim=-1)
    first = _first_best(likeness)
    here, after = first[:, None], first[:, None] + 1
    weighted = values * size[..., None]
    total = (size.gather(1, here) + size.gather(1, after)).clamp(min=1)
    mean = (_entry(weighted, here) + _entry(weighted, after)) / total[..., None]
    steps = torch.arange(values.shape[1] - 1, device=values.device)[None, :, None]
    source = steps + (steps > here)
    is_merged = steps == here
    kept = values.gather(1, source[..., None].expand(*source.shape, values.shape[-1]))
    return torch.where(is_merged[..., None], mean, kept), torch.where(is_merged, total, size.gather(1, source)), first


def runs(bank: Bank, row: int, most_tokens: int | None = None) -> dict[str, list]:
    """Of one row, as plain lists: `tokens` that are told, and of each the `sizes` of its entries in order of time and the
    `similarity` of each entry and the next (one fewer; None where the bank's rule compares nothing).

    Args:
        most_tokens: At most so many positions, evenly chosen; None is all.
    """
    count = bank.length.shape[1]
    chosen = range(count)
    if most_tokens is not None and count > most_tokens:
        chosen = [i * (count - 1) // (most_tokens - 1) for i in range(most_tokens)] if most_tokens > 1 else [0]
    tokens = torch.tensor(list(chosen), dtype=torch.long, device=bank.length.device)
    length = bank.length[row, tokens].tolist()
    size = bank.size[row].gather(0, bank.order[row])[:, tokens].T.long().tolist()
    likeness = bank.similarity[row][:, tokens].T.tolist()
    return {
        "tokens": list(chosen),
        "sizes": [sizes[:n] for sizes, n in zip(size, length, strict=True)],
        "similarity": [
            [round(value, 5) if isfinite(value) else None for value in values[: max(0, n - 1)]]
            for values, n in zip(likeness, length, strict=True)
        ],
    }


def place_(buffer: Tensor, at: Tensor, new: Tensor, journal: Journal | None = None) -> None:
    """Write new (R, N, C) at rows `at` of buffer (R, S, N, C)."""
    rows = buffer.view(-1, buffer.shape[-1])
    if journal is not None:
        journal.note(rows, at, rows.index_select(0, at))
    rows.index_copy_(0, at, new.reshape(-1, buffer.shape[-1]).to(buffer.dtype))


def blend_(buffer: Tensor, move: Move, journal: Journal | None = None) -> Tensor:
    """Follow a merge in buffer (R, S, N, C); the merged rows (R * N, C)."""
    rows = buffer.view(-1, buffer.shape[-1])
    before = rows.index_select(0, move.keep)
    if journal is not None:
        journal.note(rows, move.keep, before)
    mean = before.lerp(rows.index_select(0, move.gone), move.weight.to(rows.dtype))
    rows.index_copy_(0, move.keep, mean)
    return mean


def append_(
    bank: Bank, new: Tensor, real: Tensor | None, rule: BankRule, journal: Journal | None = None
) -> tuple[Bank, Tensor]:
    """Put a group (R, N, C) with mask (R, N) into the free slots: the bank, and the rows (R * N,) where it stands.

    What is masked leaves no entry. With `merge_frames` a position without a token gets an empty one where the group has
    another, so that all positions keep step.
    """
    is_new = torch.ones_like(bank.length) if real is None else real.long()
    if real is not None and rule.policy == "merge_frames":
        is_new, new = real.any(1, keepdim=True).long().expand_as(bank.length), new.masked_fill(~real[..., None], 0.0)
    slot = bank.order.gather(1, bank.length[:, None])
    at = _rows(slot[:, 0], bank)
    similarity = bank.similarity
    if rule.merges:
        last = (bank.length - 1).clamp(min=0)
        before = bank.values.view(-1, bank.values.shape[-1]).index_select(0, _rows(_slot(bank, last), bank))
        likeness = _alike(before, new.reshape(before.shape).to(before.dtype), bank.length)
        similarity = _put(similarity, last, likeness, (bank.length > 0) & (is_new > 0))
    place_(bank.values, at, new, journal)
    count = torch.ones_like(slot, dtype=bank.size.dtype) if real is None else real[:, None].to(bank.size.dtype)
    filled = None if real is not None or bank.filled is None else bank.filled + 1
    size = bank.size.scatter(1, slot, count)
    return replace(bank, size=size, length=bank.length + is_new, similarity=similarity, filled=filled), at


def shorten_(bank: Bank, rule: BankRule, journal: Journal | None = None) -> tuple[Bank, list[Move]]:
    """Bring a bank of limit + 1 entries down by the rule: the bank, and the merges that were made."""
    if bank.filled is not None and bank.filled <= rule.limit:
        return bank, []
    is_over = bank.length > rule.limit
    if rule.policy == "drop":
        return _remove(bank, torch.zeros_like(bank.length), is_over), []
    moves = []
    for _ in range(rule.window):
        bank, move = _merge_(bank, is_over, rule, journal)
        moves.append(move)
    return (replace(bank, filled=None) if rule.window > 1 else bank), moves


def _merge_(bank: Bank, is_over: Tensor, rule: BankRule, journal: Journal | None) -> tuple[Bank, Move]:
    """Join the most alike neighbours where `is_over` (R, N)."""
    similarity = bank.similarity
    if rule.policy == "merge_frames":
        similarity = similarity.sum(2, keepdim=True).expand_as(similarity)
    first = _first_best(similarity) * is_over
    keep = _slot(bank, first)
    gone = torch.where(is_over, _slot(bank, (first + 1).clamp(max=bank.order.shape[1] - 1)), keep)
    sizes = bank.size.gather(1, keep[:, None])[:, 0], bank.size.gather(1, gone[:, None])[:, 0]
    weight = (sizes[1] / (sizes[0] + sizes[1]).clamp(min=1)).masked_fill(~is_over, 0.0)
    move = Move(_rows(keep, bank), _rows(gone, bank), weight.reshape(-1, 1))
    merged = blend_(bank.values, move, journal)
    total = torch.where(is_over, sizes[0] + sizes[1], sizes[0])
    shorter = _remove(bank, first + 1, is_over)
    shorter = replace(shorter, size=shorter.size.scatter(1, keep[:, None], total[:, None]))
    return _compare_again(shorter, first, merged, is_over), move


def _remove(bank: Bank, index: Tensor, where: Tensor) -> Bank:
    """Take the entry `index` (R, N) out of the order of time, where `where`; its slot is free then."""
    slots = bank.order.shape[1]
    index = torch.where(where, index, slots - 1)  # the last place of the order: a free slot that stays where it is
    slot = _slot(bank, index)
    steps = torch.arange(slots, device=index.device)[None, :, None]
    order = bank.order.gather(1, (steps + (steps >= index[:, None])).clamp(max=slots - 1))
    order = torch.cat([order[:, :-1], slot[:, None]], 1)
    old = bank.size.gather(1, slot[:, None])
    size = bank.size.scatter(1, slot[:, None], old.masked_fill(where[:, None], 0.0))
    # Of the two likenesses of the entry, the one to the entry before it goes; merging compares again.
    steps = steps[:, : slots - 1]
    source = steps + ((steps >= (index[:, None] - 1).clamp(min=0)) & where[:, None])
    similarity = functional.pad(bank.similarity, (0, 0, 0, 1), value=-torch.inf).gather(1, source)
    filled = None if bank.filled is None else bank.filled - 1
    return replace(
        bank, order=order, size=size, similarity=similarity, length=bank.length - where.long(), filled=filled
    )


def _compare_again(bank: Bank, index: Tensor, merged: Tensor, where: Tensor) -> Bank:
    """Likeness of the merged entry `index` (R, N), values (R * N, C), to its two neighbours."""
    if not bank.similarity.shape[1]:
        return bank
    rows = bank.values.view(-1, bank.values.shape[-1])
    before, after = (index - 1).clamp(min=0), (index + 1).clamp(max=bank.order.shape[1] - 1)
    to_before = _alike(rows.index_select(0, _rows(_slot(bank, before), bank)), merged, index)
    to_after = _alike(merged, rows.index_select(0, _rows(_slot(bank, after), bank)), index)
    similarity = _put(bank.similarity, before, to_before, where & (index > 0))
    last = bank.similarity.shape[1] - 1
    similarity = _put(similarity, index.clamp(max=last), to_after, where & (index + 1 < bank.length))
    return replace(bank, similarity=similarity)


def _first_best(similarity: Tensor) -> Tensor:
    """(R, P, N) → (R, N): the first of the largest on every device; a NaN is larger than all."""
    best = similarity.amax(1, keepdim=True)
    steps = torch.arange(similarity.shape[1], device=similarity.device)[None, :, None]
    return torch.where((similarity == best) | similarity.isnan(), steps, similarity.shape[1]).amin(1)


def _alike(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
    """Cosine of rows (R * N, C) as (R, N)."""
    return functional.cosine_similarity(first, second, dim=-1).view_as(like)


def _slot(bank: Bank, index: Tensor) -> Tensor:
    """(R, N): slot of the entry `index` (R, N) in time."""
    return bank.order.gather(1, index[:, None])[:, 0]


def _rows(slot: Tensor, bank: Bank) -> Tensor:
    """Slots (R, N) as rows (R * N,) of a buffer flattened to (R * S * N, …)."""
    rows, slots, tokens = bank.order.shape
    base = torch.arange(rows, device=slot.device)[:, None] * (slots * tokens)
    return (base + slot * tokens + torch.arange(tokens, device=slot.device)).flatten()


def _put(values: Tensor, index: Tensor, new: Tensor, where: Tensor) -> Tensor:
    """values (R, P, N) with new (R, N) at `index` (R, N) where `where`."""
    index = index[:, None]
    return values.scatter(1, index, torch.where(where[:, None], new[:, None], values.gather(1, index)))


def _entry(values: Tensor, index: Tensor) -> Tensor:
    """values (R, T, N, C) at index (R, 1, N) → (R, 1, N, C)."""
    return values.gather(1, index[..., None].expand(*index.shape, values.shape[-1]))
