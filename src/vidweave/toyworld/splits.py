"""Seeds for training, validation and test: disjoint ranges."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from vidweave.errors import ConfigError, UnknownNameError

__all__ = ["SEEDS", "Split", "check_split", "split_seed", "scene_seeds"]

Split = Literal["train", "validation", "test"]

SEEDS: dict[str, range] = {
    "train": range(2**40),
    "validation": range(2**40, 2**41),
    "test": range(2**41, 2**62),
}
_WORLD_CLIPS = 2**20  # maximum number of clips of one written world

_bounds = sorted((r.start, r.stop) for r in SEEDS.values())
assert all(one[1] <= next_[0] for one, next_ in pairwise(_bounds)), "the splits overlap"


def split_seed(split: str, index: int) -> int:
    """Return the `index`-th seed of a split.

    Raises:
        UnknownNameError: unknown split.
        ConfigError: the split has fewer seeds.
    """
    if split not in SEEDS:
        raise UnknownNameError("split", split, SEEDS)
    seeds = SEEDS[split]
    if not 0 <= index < len(seeds):
        raise ConfigError(f"split {split!r} has {len(seeds)} seeds, there is no seed number {index}")
    return seeds[index]


def check_split(seed: int, split: str) -> int:
    """Return `seed` after checking that it belongs to `split`.

    Raises:
        ConfigError: it belongs to another one.
    """
    if split not in SEEDS:
        raise UnknownNameError("split", split, SEEDS)
    if seed not in SEEDS[split]:
        raise ConfigError(f"seed {seed} is not in split {split!r} ({SEEDS[split].start} to {SEEDS[split].stop - 1})")
    return seed


def scene_seeds(seed: int, num_clips: int) -> list[int]:
    """Return the scene seeds of the written world number `seed`: test seeds that no other world uses.

    Raises:
        ConfigError: a negative or too large seed, or too many clips.
    """
    if not 1 <= num_clips <= _WORLD_CLIPS:
        raise ConfigError(f"a world has 1 to {_WORLD_CLIPS} clips, got {num_clips}")
    if not 0 <= seed < 2**41:
        raise ConfigError(f"the seed of a world must be between 0 and {2**41 - 1}, got {seed}")
    first = seed * _WORLD_CLIPS
    return [split_seed("test", first + i) for i in range(num_clips)]
