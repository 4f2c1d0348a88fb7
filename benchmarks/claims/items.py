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

    def __init__(self, question_types: Sequence[str], make: Callable[[int], Example]) -> None:
        self.question_types = list(question_types)
        self._make = make

    def __len__(self) -> int:
        return len(self.question_types)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: items are costly
        return self._make(index)

    def only(self, question_types: Collection[str]) -> Items:
        """Select the items of some question types."""
        kept = [i for i, question_type in enumerate(self.question_types) if question_type in question_types]
        return Items([self.question_types[i] for i in kept], lambda index: self[kept[index]])

    def changed(self, change: Callable[[Example], Example]) -> Items:
        """Change every item by a function."""
        return Items(self.question_types, lambda index: change(self[index]))


def toy_items(seed: int, examples: int, question_types: Sequence[str] | None = None) -> Items:
    """Draw balanced questions of the test split, with video only."""
    source = ToyQuestions(seed, examples, question_types=question_types)
    return Items(source.question_types, source.__getitem__)


def another_clip(items: Items, seed: int) -> Items:
    """Replace the clip of each item by that of another one of its question type, see `partners`."""
    other = partners(items.question_types, seed)

    def make(index: int) -> Example:
        example = items[index]
        return replace(example, query=replace(example.query, scenes=items[other[index]].query.scenes))

    return Items(items.question_types, make)


def partners(question_types: Sequence[str], seed: int) -> dict[int, int]:
    """Pair each item with another one of its question type: seeded cycles in which none keeps its own.

    Neighbors would not do: where most answers have reached their maximum count, the same answer follows itself.
    """
    other: dict[int, int] = {}
    for question_type in dict.fromkeys(question_types):
        members = [i for i, name in enumerate(question_types) if name == question_type]
        assert len(members) > 1, f"another clip takes at least two items of {question_type}"
        random.Random(f"{seed}/{question_type}").shuffle(members)
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
