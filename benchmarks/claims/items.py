"""Items of a claim, created lazily, and the controls: the same question with one change."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions
from vidweave.types import Clip, Frames, Query

__all__ = ["Items", "another_clip", "no_clip", "partners", "shuffled_options", "toy_items"]


class Items(Sequence[Example]):
    """Examples by position, with question types known before any example is created."""

    def __init__(self, families: Sequence[str], make: Callable[[int], Example]) -> None:
        self.families = list(families)
        self._make = make

    def __len__(self) -> int:
        return len(self.families)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: items are costly
        return self._make(index)

    def only(self, families: Collection[str]) -> Items:
        """Select the items of some question types."""
        kept = [i for i, family in enumerate(self.families) if family in families]
        return Items([self.families[i] for i in kept], lambda index: self[kept[index]])

    def changed(self, change: Callable[[Example], Example]) -> Items:
        """Change every item by a function."""
        return Items(self.families, lambda index: change(self[index]))


def toy_items(seed: int, examples: int, families: Sequence[str] | None = None) -> Items:
    """Draw balanced questions of the test split, with video only."""
    source = ToyQuestions(seed, examples, families=families)
    return Items(source.families, source.__getitem__)


def another_clip(items: Items, seed: int) -> Items:
    """Replace the clip of each item by that of another one of its question type, see `partners`."""
    other = partners(items.families, seed)

    def make(index: int) -> Example:
        example = items[index]
        return replace(example, query=replace(example.query, scenes=items[other[index]].query.scenes))

    return Items(items.families, make)


def partners(families: Sequence[str], seed: int) -> dict[int, int]:
    """Pair each item with another one of its question type: seeded cycles in which none keeps its own.

    Neighbors would not do: where most answers have reached their maximum count, the same answer follows itself.
    """
    other: dict[int, int] = {}
    for family in dict.fromkeys(families):
        members = [i for i, name in enumerate(families) if name == family]
        assert len(members) > 1, f"another clip takes at least two items of {family}"
        random.Random(f"{seed}/{family}").shuffle(members)
        other |= dict(zip(members, members[1:] + members[:1], strict=True))
    return other


def no_clip(items: Items) -> Items:
    """Replace the clip of each item by a uniformly gray one of the same extent, which leaves only the question."""
    return items.changed(lambda example: replace(example, query=_with_clip(example.query, _gray(example))))


def _gray(example: Example) -> Clip:
    frames = example.query.scenes[0].clip["video"]
    return Clip(Frames(np.full_like(frames.values, 127), frames.pts_seconds, frames.indices))


def _with_clip(query: Query, clip: Clip) -> Query:
    return replace(query, scenes=(replace(query.scenes[0], clip=clip),))


def shuffled_options(items: Items, seed: int) -> Items:
    """Rotate the options of each item by a seeded number of places: every option changes its position."""

    def change(example: Example) -> Example:
        options = example.query.options
        turn = random.Random(f"{seed}/{example.id}").randrange(1, len(options))
        return replace(example, query=replace(example.query, options=(*options[turn:], *options[:turn])))

    return items.changed(change)
