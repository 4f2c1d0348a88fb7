"""Merge text and visual tokens: a plan and token blocks become one padded sequence per item. Nothing else does this."""

# Axes: B items, L plan positions, S sequence length, D width, R rows of a block, T segments, Q tokens per segment
# A source is the list of all vectors that may be placed: text tokens in plan order, then each block's R * T * Q tokens.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from vidweave.errors import ModalityError, NonFiniteError, ShapeError
from vidweave.nn.numbers import require_finite
from vidweave.types import Blocks, Embeds, PromptPlan

__all__ = ["splice"]


def splice(
    plan: PromptPlan, blocks: Mapping[str, Blocks], embed: Callable[[Tensor], Tensor], side: Literal["left", "right"]
) -> Embeds:
    """Insert the real tokens of `blocks` into the slots of `plan`.

    Args:
        plan: Text ids and slots.
        blocks: By name; one row per (item, scene); values are cast to the dtype and device of the text embeddings.
        embed: (n,) ids → (n, D).
        side: Side of the padding.

    Returns:
        Values (B, S, D), zero where padded; the mask; position ids counted over real tokens; labels if the plan has
        targets; the end of the last block of each prompt.

    Raises:
        ShapeError: a slot whose block, row or segment does not exist, or segments that the plan omits; with counts.
        ModalityError: a block row without tokens, or one that the plan does not place.
        NonFiniteError: NaN or infinity in a block or in the text embeddings.
    """
    if side not in ("left", "right"):
        raise ShapeError(f"side must be 'left' or 'right', got {side!r}")
    ids, slot, is_target = plan.ids.cpu(), plan.slot.cpu(), plan.is_target.cpu()
    is_text = ids >= 0
    text = embed(plan.ids[plan.ids >= 0])
    source = [text, *(b.values.flatten(0, 2).to(text) for b in blocks.values()), text.new_zeros(1, text.shape[1])]
    _check_widths(blocks, text.shape[1])

    # Each plan position is a run of `length` vectors, from `start` in the list of real ones.
    start, length = torch.zeros_like(ids), is_text.long()
    start[is_text] = torch.arange(int(is_text.sum()))
    real = [torch.arange(len(text))]
    taken = len(text)
    for name, block in blocks.items():
        positions = _positions_of(name, plan, slot)
        first, count = _runs(name, block, plan, slot, positions)
        start[positions], length[positions] = first + sum(map(len, real)), count
        real.append(taken + block.mask.flatten().cpu().nonzero()[:, 0])
        taken += block.mask.numel()
    _check_all_filled(plan, slot, length, blocks)

    totals = length.sum(1)
    size = int(totals.max()) if len(totals) else 0
    if len(totals) and int(totals.min()) == 0:
        raise ShapeError(f"the prompt of item {int(totals.argmin())} is empty; a prompt needs text or tokens")
    steps = torch.arange(size)
    mask = steps >= size - totals[:, None] if side == "left" else steps < totals[:, None]
    runs = length.flatten()
    order = (start.flatten() - runs.cumsum(0) + runs).repeat_interleave(runs) + torch.arange(int(runs.sum()))
    index = torch.full(mask.shape, taken)
    index[mask] = torch.cat(real)[order]
    labels = None
    if is_target.any():
        labels = torch.full(mask.shape, -100)
        labels[mask] = torch.where(is_target & is_text, ids, -100).flatten().repeat_interleave(runs)
        labels = labels.to(text.device)
    values = torch.cat(source).index_select(0, index.flatten().to(text.device)).view(*mask.shape, -1)
    _require_finite(values, text, blocks)
    position_ids = (mask.long().cumsum(1) - 1).masked_fill(~mask, 0)
    ends = torch.where(slot >= 0, length.cumsum(1), 0).amax(1) if slot.shape[1] else slot.new_zeros(len(slot))
    return Embeds(values, mask.to(text.device), position_ids.to(text.device), labels, ends.to(text.device))


def _require_finite(values: Tensor, text: Tensor, blocks: Mapping[str, Blocks]) -> None:
    """Check all placed vectors at once; their origin is determined only if the check fails."""
    try:
        require_finite("embeddings of the prompt", {"": (values, None)})
    except NonFiniteError:
        tokens = {name: (block.values.to(text), block.mask) for name, block in blocks.items()}
        require_finite("tokens of block {part!r} from the connector", tokens)
        require_finite("text embeddings of the language model", {"": (text, None)})
        raise


def _check_widths(blocks: Mapping[str, Blocks], width: int) -> None:
    for name, block in blocks.items():
        if block.values.shape[-1] != width:
            raise ShapeError(f"block {name!r} is {block.values.shape[-1]} wide, the language model {width}")


def _positions_of(name: str, plan: PromptPlan, slot: Tensor) -> Tensor:
    """Mark the slots of block `name`: (B, L) bool."""
    ours = torch.tensor([block == name for block, _, _ in plan.slots] + [False])  # the last one is slot -1: none
    return ours[slot]


def _runs(name: str, block: Blocks, plan: PromptPlan, slot: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the start among the block's real tokens, and the length, of the run of each slot position."""
    num_rows, num_segments, _ = block.mask.shape
    item, number = positions.nonzero()[:, 0], slot[positions]
    scene = torch.tensor([s for _, s, _ in plan.slots], dtype=torch.int64)[number]
    segment = torch.tensor([-1 if g is None else g for _, _, g in plan.slots], dtype=torch.int64)[number]
    row = _rows(name, block, len(slot), int(scene.max()) + 1 if len(scene) else 1)[item, scene]
    if len(row) and int(row.min()) < 0:
        at = int((row < 0).nonzero()[0])
        raise ShapeError(
            f"the prompt of item {int(item[at])} has a slot for block {name!r} of scene {int(scene[at])}, "
            f"but none of the block's {num_rows} rows is that"
        )
    if len(segment) and int(segment.max()) >= num_segments:
        at = int(segment.argmax())
        raise ShapeError(
            f"item {int(item[at])} has a slot for segment {int(segment[at])} of {name!r}, which has {num_segments} segments"
        )
    per_segment = block.mask.cpu().sum(2)  # (R, T)
    _check_placed(name, block, per_segment > 0, row, segment)
    ends = per_segment.flatten().cumsum(0)
    begin, stop = (
        row * num_segments + segment.clamp(min=0),
        row * num_segments + torch.where(segment < 0, num_segments - 1, segment),
    )
    first = ends[begin] - per_segment.flatten()[begin]
    count = ends[stop] - first
    if len(count) and int(count.min()) == 0:
        at = int(count.argmin())
        have = int((per_segment[row[at]] > 0).sum())
        raise ShapeError(
            f"item {int(item[at])} has a slot for segment {int(segment[at])} of {name!r}, which has {have} segments there"
        )
    return first, count


def _rows(name: str, block: Blocks, num_items: int, num_scenes: int) -> Tensor:
    """Return the block's row of each (item, scene): (B, scenes), -1 where there is none."""
    item, scene = block.item.cpu(), block.scene.cpu()
    if len(item) and int(item.max()) >= num_items:
        raise ShapeError(
            f"block {name!r} has rows of items {sorted(set(item.tolist()))}, the prompt has {num_items} items"
        )
    table = torch.full((num_items, max(num_scenes, int(scene.max()) + 1 if len(scene) else 1)), -1)
    table[item, scene] = torch.arange(len(item))
    if int((table >= 0).sum()) != len(item):
        raise ShapeError(
            f"block {name!r} has {len(item)} rows for {int((table >= 0).sum())} different (item, scene) pairs"
        )
    return table


def _check_placed(name: str, block: Blocks, has_tokens: Tensor, row: Tensor, segment: Tensor) -> None:
    """Raise unless every row with tokens is placed, with all its segments (R, T)."""
    placed = torch.zeros_like(has_tokens)
    placed[row[segment < 0]] = True
    placed[row[segment >= 0], segment[segment >= 0]] = True
    placed &= has_tokens
    for number in (placed.sum(1) < has_tokens.sum(1).clamp(min=1)).nonzero()[:, 0].tolist():
        where = f"block {name!r} of item {int(block.item[number])}, scene {int(block.scene[number])},"
        have, used = int(has_tokens[number].sum()), int(placed[number].sum())
        if used == 0:
            why = "no slot of the prompt is for it" if have else "all its tokens are masked"
            raise ModalityError(f"{where} reaches no token: {why}; a supplied modality must reach one")
        raise ShapeError(f"{where} has {have} segments, the prompt places {used}")


def _check_all_filled(plan: PromptPlan, slot: Tensor, length: Tensor, blocks: Mapping[str, Blocks]) -> None:
    empty = (slot >= 0) & (length == 0)
    if empty.any():
        item, position = empty.nonzero()[0].tolist()
        name = plan.slots[int(slot[item, position])][0]
        given = ", ".join(blocks) or "none"
        raise ShapeError(
            f"the prompts have {int(empty.sum())} slots for absent blocks (item {item}: {name!r}); given: {given}"
        )
