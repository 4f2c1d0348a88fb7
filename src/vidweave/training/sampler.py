"""Order of examples: a pure function of the seed, so that any step can be repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from vidweave.errors import TrainingError

__all__ = ["Sampler", "permute"]

_ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Endless sequence of epochs over `size` examples, each epoch in its own order.

    The order is the same for any number of processes: a step uses the next `batch_size` positions, and each process a
    part of them. So all processes run the same number of steps for any size, and a batch may span two epochs.
    """

    size: int
    batch_size: int  # examples per step, over all processes
    seed: int
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise TrainingError("there are no examples to train with; check the data of the stage")
        if self.batch_size < 1:
            raise TrainingError(f"batch_size must be at least 1, got {self.batch_size}")

    def index(self, position: int) -> int:
        """Return the example at `position` of the endless sequence."""
        epoch, offset = divmod(position, self.size)
        return permute(offset, self.size, self.seed, epoch) if self.shuffle else offset

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1, parts: int = 1) -> list[list[int]]:
        """Return the examples of process `rank` in `step`, in `parts` equal micro-batches.

        Raises:
            TrainingError: the batch does not divide evenly.
        """
        if self.batch_size % (world_size * parts):
            raise TrainingError(
                f"batch_size {self.batch_size} does not divide into {world_size} processes x {parts} micro-batches; "
                f"use a multiple of {world_size * parts}"
            )
        share = self.batch_size // world_size
        first = step * self.batch_size + rank * share
        indices = [self.index(first + i) for i in range(share)]
        return [indices[i : i + share // parts] for i in range(0, share, share // parts)]

    def state(self, step: int) -> dict[str, int]:
        """Return the position in the sequence before `step`, for the checkpoint and for readers."""
        epoch, offset = divmod(step * self.batch_size, self.size)
        return {"epoch": epoch, "offset": offset, "size": self.size, "batch_size": self.batch_size}

    def as_of(self, state: dict[str, int]) -> Sampler:
        """Return this sampler with the number of examples of `state`, if there are more now: those are used later."""
        return replace(self, size=state["size"]) if 1 <= state["size"] < self.size else self

    def check_state(self, state: dict[str, int], step: int) -> None:
        """Raise TrainingError unless `state` (of a checkpoint at `step`) is the position of this sampler."""
        if state != self.state(step):
            raise TrainingError(
                f"the data changed: the checkpoint is at {state}, the same step now is {self.state(step)}; "
                "resume with the same data, or train into another folder"
            )


def permute(index: int, size: int, seed: int, epoch: int) -> int:
    """Map `index` by a seeded permutation of 0..size-1, in constant memory.

    A Feistel network is a bijection on an even number of bits; values outside 0..size-1 are mapped again until they are
    inside (cycle walking, at most four times on average).
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _keys(seed, epoch)
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (_scramble(right ^ key) & mask)
        index = left << half | right
        if index < size:
            return index


@lru_cache(maxsize=64)
def _keys(seed: int, epoch: int) -> tuple[int, ...]:
    digest = blake2b(f"{seed}:{epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    return tuple(int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(_ROUNDS))


def _scramble(value: int) -> int:
    """Spread the bits of a 64-bit number over all others (multiply and shift, twice)."""
    for _ in range(2):
        value = (value ^ (value >> 31)) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 32)
