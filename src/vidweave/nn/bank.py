"""Bounded memory of past time steps: one bank of entries per token position, compressed when it overflows.

A bank holds at most `limit` entries; each is the mean of a run of adjacent time steps, with its length. Entries are stored
in slots and do not move: attention ignores their order, so a merge touches two slots, and everything stored along with the
entries (projected keys and values, which are affine in them) follows with the same `Move`.

Functions that end in an underscore modify the given buffers; all others are pure.
"""

# Axes: R rows, S slots = limit + 1 (one is free for the newest entry), N tokens, C width, T time steps

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
    "UndoLog",
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
    """Rule for entries that exceed the limit.

    Attributes:
        limit: Maximum number of entries.
        policy: `merge` joins, per token position, the two adjacent entries with the highest similarity; `merge_frames`
            joins the same two entries at all positions, by the mean of their similarity; `drop` forgets the oldest;
            `refuse` raises.
        window: Number of merges at an overflow; above 1 the next entries fit without merging.
    """

    limit: int
    policy: Literal["merge", "merge_frames", "drop", "refuse"] = "merge"
    window: int = 1

    def __post_init__(self) -> None:
        least = 0 if self.policy == "drop" else 1
        if self.limit < least:
            raise ConfigError(f"a bank with policy {self.policy!r} needs a limit of at least {least}, got {self.limit}")
        if not 1 <= self.window <= max(1, self.limit):
            raise ConfigError(f"window ({self.window}) must be between 1 and the bank's limit ({self.limit})")

    @property
    def merges(self) -> bool:
        return self.policy in ("merge", "merge_frames")

    def length_after(self, count: Tensor) -> Tensor:
        """Return the number of entries kept after `count` were added."""
        beyond = self.limit + 1 - self.window + (count - self.limit - 1).remainder(self.window)
        return torch.where(count <= self.limit, count, beyond)


@dataclass(frozen=True, eq=False)
class Bank:
    """Entries of R rows.

    Attributes:
        values: (R, S, N, C) by slot, float32 or float64: lower precision cannot hold a mean of hundreds.
        size: (R, S, N) number of time steps averaged in each slot; 0 if it is free.
        order: (R, S, N) int64, slots of the entries in time order; free slots come last.
        length: (R, N) int64 number of entries.
        similarity: (R, S - 1, N) cosine similarity of each entry and the next in time; -inf after the last.
        filled: `length` if it is one number for all positions and known without a device sync; else None.
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
        """Return entries and sizes in time order: (R, S, N, C) and (R, S, N), zeros after the last."""
        size = self.size.gather(1, self.order)
        values = self.values.gather(1, self.order[..., None].expand_as(self.values))
        return values.masked_fill((size == 0)[..., None], 0.0), size

    def clone(self) -> Bank:
        """Return a copy whose values may be modified; the bookkeeping is never modified in place."""
        return replace(self, values=self.values.clone())

    def widen(self, tokens: int) -> Bank:
        """Return the same bank with `tokens` positions; new ones are empty."""
        more = tokens - self.length.shape[1]
        if more <= 0:
            return self
        wide = empty_bank(len(self.length), self.size.shape[1] - 1, more, self.values.shape[-1], self.values)
        names = {"values": 2, "size": 2, "order": 2, "similarity": 2, "length": 1}
        joined = {name: torch.cat([getattr(self, name), getattr(wide, name)], axis) for name, axis in names.items()}
        return Bank(**joined, filled=0 if self.filled == 0 else None)


@dataclass(frozen=True, eq=False)
class Move:
    """One merge, in the form that buffers stored along with a bank can follow.

    `keep` and `gone` (R * N,) are rows of a buffer flattened to (R * S * N, …): the first becomes the mean of both, with
    `weight` (R * N, 1) for the second; the second becomes free. Where nothing is merged they are the same row.
    """

    keep: Tensor
    gone: Tensor
    weight: Tensor


class UndoLog:
    """Undo log for in-place changes of buffers: ``with UndoLog() as undo_log``.

    A step writes into two slots per position, a free one and that of a merged entry; their values are noted first and
    restored if an exception leaves the block. On success, values passed in are consumed.
    """

    def __init__(self) -> None:
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(self, rows: Tensor, index: Tensor, values: Tensor) -> None:
        """Note that rows `index` of `rows`, which now hold `values`, are about to change."""
        self._before.append((rows, index, values))

    def __enter__(self) -> UndoLog:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            for rows, index, values in reversed(self._before):
                rows.index_copy_(0, index, values)
        self._before.clear()


def empty_bank(rows: int, limit: int, tokens: int, width: int, like: Tensor) -> Bank:
    """Return an empty bank on the device of `like`, in float64 if `like` is float64, else float32."""
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
    """Return the bank after one more time step (R, N, C) with mask (R, N); None: all real. The given bank is not modified.

    Raises:
        ShapeError: the bank is full and the policy is `refuse`.
    """
    if rule.policy == "refuse" and bank.length.numel() and int(bank.length.max()) >= rule.limit:
        raise ShapeError(f"the memory is full ({rule.limit} time steps) and its policy is 'refuse'; raise its limit")
    bank, _ = append_(bank.clone(), new, real, rule)
    bank, _ = shorten_(bank, rule)
    return bank


def compress(values: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge once as written in the papers, without bookkeeping: the reference for the faster functions here.

    Args:
        values: (R, T, N, C) in time order, size: (R, T, N).

    Returns:
        values (R, T - 1, N, C), size (R, T - 1, N), and the merged pair (R, N): the first with the highest similarity.
    """
    similarity = functional.cosine_similarity(values[:, :-1], values[:, 1:], dim=-1)
    first = _first_best(similarity)
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
    """Describe one row as plain lists: reported `tokens`, and per token the `sizes` of its entries in time order and the
    `similarity` of each entry and the next (one fewer; None where the bank's rule does not compare).

    Args:
        most_tokens: Maximum number of evenly chosen positions; None is all.
    """
    count = bank.length.shape[1]
    chosen = range(count)
    if most_tokens is not None and count > most_tokens:
        chosen = [i * (count - 1) // (most_tokens - 1) for i in range(most_tokens)] if most_tokens > 1 else [0]
    tokens = torch.tensor(list(chosen), dtype=torch.long, device=bank.length.device)
    length = bank.length[row, tokens].tolist()
    size = bank.size[row].gather(0, bank.order[row])[:, tokens].T.long().tolist()
    similarity = bank.similarity[row][:, tokens].T.tolist()
    return {
        "tokens": list(chosen),
        "sizes": [sizes[:n] for sizes, n in zip(size, length, strict=True)],
        "similarity": [
            [round(value, 5) if isfinite(value) else None for value in values[: max(0, n - 1)]]
            for values, n in zip(similarity, length, strict=True)
        ],
    }


def place_(buffer: Tensor, at: Tensor, new: Tensor, undo_log: UndoLog | None = None) -> None:
    """Write new (R, N, C) at rows `at` of buffer (R, S, N, C)."""
    rows = buffer.view(-1, buffer.shape[-1])
    if undo_log is not None:
        undo_log.note(rows, at, rows.index_select(0, at))
    rows.index_copy_(0, at, new.reshape(-1, buffer.shape[-1]).to(buffer.dtype))


def blend_(buffer: Tensor, move: Move, undo_log: UndoLog | None = None) -> Tensor:
    """Apply a merge to buffer (R, S, N, C); return the merged rows (R * N, C)."""
    rows = buffer.view(-1, buffer.shape[-1])
    before = rows.index_select(0, move.keep)
    if undo_log is not None:
        undo_log.note(rows, move.keep, before)
    mean = before.lerp(rows.index_select(0, move.gone), move.weight.to(rows.dtype))
    rows.index_copy_(0, move.keep, mean)
    return mean


def append_(
    bank: Bank, new: Tensor, real: Tensor | None, rule: BankRule, undo_log: UndoLog | None = None
) -> tuple[Bank, Tensor]:
    """Write a time step (R, N, C) with mask (R, N) into the free slots; return the bank and the rows (R * N,) written.

    Masked tokens add no entry. With `merge_frames`, a position without a token gets an empty entry if another position has
    one, so that all positions stay aligned.
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
        to_last = _cosine(before, new.reshape(before.shape).to(before.dtype), bank.length)
        similarity = _put(similarity, last, to_last, (bank.length > 0) & (is_new > 0))
    place_(bank.values, at, new, undo_log)
    count = torch.ones_like(slot, dtype=bank.size.dtype) if real is None else real[:, None].to(bank.size.dtype)
    filled = None if real is not None or bank.filled is None else bank.filled + 1
    size = bank.size.scatter(1, slot, count)
    return replace(bank, size=size, length=bank.length + is_new, similarity=similarity, filled=filled), at


def shorten_(bank: Bank, rule: BankRule, undo_log: UndoLog | None = None) -> tuple[Bank, list[Move]]:
    """Reduce a bank of limit + 1 entries by the rule; return the bank and the merges."""
    if bank.filled is not None and bank.filled <= rule.limit:
        return bank, []
    is_over = bank.length > rule.limit
    if rule.policy == "drop":
        return _remove(bank, torch.zeros_like(bank.length), is_over), []
    moves = []
    for _ in range(rule.window):
        bank, move = _merge_(bank, is_over, rule, undo_log)
        moves.append(move)
    return (replace(bank, filled=None) if rule.window > 1 else bank), moves


def _merge_(bank: Bank, is_over: Tensor, rule: BankRule, undo_log: UndoLog | None) -> tuple[Bank, Move]:
    """Merge the adjacent entries with the highest similarity where `is_over` (R, N)."""
    similarity = bank.similarity
    if rule.policy == "merge_frames":
        similarity = similarity.sum(2, keepdim=True).expand_as(similarity)
    first = _first_best(similarity) * is_over
    keep = _slot(bank, first)
    gone = torch.where(is_over, _slot(bank, (first + 1).clamp(max=bank.order.shape[1] - 1)), keep)
    sizes = bank.size.gather(1, keep[:, None])[:, 0], bank.size.gather(1, gone[:, None])[:, 0]
    weight = (sizes[1] / (sizes[0] + sizes[1]).clamp(min=1)).masked_fill(~is_over, 0.0)
    move = Move(_rows(keep, bank), _rows(gone, bank), weight.reshape(-1, 1))
    merged = blend_(bank.values, move, undo_log)
    total = torch.where(is_over, sizes[0] + sizes[1], sizes[0])
    shorter = _remove(bank, first + 1, is_over)
    shorter = replace(shorter, size=shorter.size.scatter(1, keep[:, None], total[:, None]))
    return _compare_again(shorter, first, merged, is_over), move


def _remove(bank: Bank, index: Tensor, where: Tensor) -> Bank:
    """Remove the entry `index` (R, N) from the time order where `where`; its slot becomes free."""
    slots = bank.order.shape[1]
    index = torch.where(where, index, slots - 1)  # the last place of the order: a free slot that stays in place
    slot = _slot(bank, index)
    steps = torch.arange(slots, device=index.device)[None, :, None]
    order = bank.order.gather(1, (steps + (steps >= index[:, None])).clamp(max=slots - 1))
    order = torch.cat([order[:, :-1], slot[:, None]], 1)
    old = bank.size.gather(1, slot[:, None])
    size = bank.size.scatter(1, slot[:, None], old.masked_fill(where[:, None], 0.0))
    # Of the two similarities of the entry, the one to the previous entry is dropped; merging compares again.
    steps = steps[:, : slots - 1]
    source = steps + ((steps >= (index[:, None] - 1).clamp(min=0)) & where[:, None])
    similarity = functional.pad(bank.similarity, (0, 0, 0, 1), value=-torch.inf).gather(1, source)
    filled = None if bank.filled is None else bank.filled - 1
    return replace(
        bank, order=order, size=size, similarity=similarity, length=bank.length - where.long(), filled=filled
    )


def _compare_again(bank: Bank, index: Tensor, merged: Tensor, where: Tensor) -> Bank:
    """Update the similarity of the merged entry `index` (R, N), values (R * N, C), to both adjacent entries."""
    if not bank.similarity.shape[1]:
        return bank
    rows = bank.values.view(-1, bank.values.shape[-1])
    before, after = (index - 1).clamp(min=0), (index + 1).clamp(max=bank.order.shape[1] - 1)
    to_before = _cosine(rows.index_select(0, _rows(_slot(bank, before), bank)), merged, index)
    to_after = _cosine(merged, rows.index_select(0, _rows(_slot(bank, after), bank)), index)
    similarity = _put(bank.similarity, before, to_before, where & (index > 0))
    last = bank.similarity.shape[1] - 1
    similarity = _put(similarity, index.clamp(max=last), to_after, where & (index + 1 < bank.length))
    return replace(bank, similarity=similarity)


def _first_best(similarity: Tensor) -> Tensor:
    """(R, P, N) → (R, N): index of the first maximum, the same on every device; NaN counts as the maximum."""
    best = similarity.amax(1, keepdim=True)
    steps = torch.arange(similarity.shape[1], device=similarity.device)[None, :, None]
    return torch.where((similarity == best) | similarity.isnan(), steps, similarity.shape[1]).amin(1)


def _cosine(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
    """Cosine similarity of rows (R * N, C) as (R, N)."""
    return functional.cosine_similarity(first, second, dim=-1).view_as(like)


def _slot(bank: Bank, index: Tensor) -> Tensor:
    """(R, N): slot of the entry `index` (R, N) in time order."""
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
