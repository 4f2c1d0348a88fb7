"""Batches that are all vision or all text, balanced by length over the processes: MERV's fine-tuning order."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vidweave.errors import TrainingError

__all__ = ["split_modality_batches"]


def split_modality_batches(
    lengths: Sequence[int],
    is_multimodal: Sequence[bool],
    *,
    batch_size: int,
    world_size: int = 1,
    seed: int = 0,
    epoch: int = 0,
) -> list[list[list[int]]]:
    """Return the batches of one epoch: batch → process → indices of examples.

    Examples with and without vision are shuffled separately and cut into batches; the last batch of each kind is filled
    from the start of its own order, so a few examples are repeated. Inside a batch, longer examples come first, and
    each is assigned to the least loaded process with space left. Batches are shuffled, and the one with the longest
    example comes first, so that memory runs out at the start or not at all.

    Args:
        lengths: Length of each example, in words or tokens.
        is_multimodal: Whether each example has vision.
        batch_size: Examples per batch over all processes, a multiple of `world_size`.
        seed, epoch: Their sum seeds the order.

    Raises:
        TrainingError: a batch size that does not divide, or too few examples of one kind to fill a batch.

    Source: MERV's released sampler (spec 3.3); its `__len__` undercounts these batches.
    """
    if batch_size % world_size:
        raise TrainingError(
            f"batch_size {batch_size} does not divide over {world_size} processes; use a multiple of it"
        )
    generator = torch.Generator().manual_seed(seed + epoch)
    batches = [
        _balance(batch, lengths, batch_size // world_size, world_size)
        for kind in (True, False)
        for batch in _filled([i for i, has in enumerate(is_multimodal) if has is kind], batch_size, generator)
    ]
    order = torch.randperm(len(batches), generator=generator).tolist()
    first = max(range(len(order)), key=lambda i: max(lengths[j] for part in batches[order[i]] for j in part))
    order[0], order[first] = order[first], order[0]
    return [batches[i] for i in order]


def _filled(indices: list[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle `indices` and cut them into batches of `size`, the last one filled from the start."""
    if not indices:
        return []
    order = [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
    missing = -len(order) % size
    if missing > len(order):
        raise TrainingError(
            f"{len(order)} examples of one kind cannot fill a batch of {size}; use a batch_size of at most {2 * len(order)}"
        )
    order += order[:missing]
    return [order[i : i + size] for i in range(0, len(order), size)]


def _balance(batch: list[int], lengths: Sequence[int], share: int, world_size: int) -> list[list[int]]:
    parts: list[list[int]] = [[] for _ in range(world_size)]
    for index in sorted(batch, key=lambda i: -lengths[i]):
        open_parts = [part for part in parts if len(part) < share]
        min(open_parts, key=lambda part: sum(lengths[i] for i in part)).append(index)
    return parts
