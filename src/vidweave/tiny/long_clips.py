"""Long clips of the toy world as training data: what came when, and questions about it."""

# Axes: T pictures that are looked at, V visits

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidweave.errors import ConfigError
from vidweave.tiny.scenes import ENDLESS, train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.questions import ToyQuestion, question
from vidweave.toyworld.scene import ToyScene

__all__ = [
    "ANSWERS",
    "LONG_FAMILIES",
    "VISIT_LABELS",
    "LongQuestion",
    "LongQuestions",
    "distinct_frames",
    "visit_labels",
]

MOST_VISITS = 6
LONG_FAMILIES = ("first", "order", "visits")  # what came when, and how often
ANSWERS = (*a.COLOURS, "1", "2", "3", "4")
ORDINALS = (0, 1, 2, -1)  # first, second, third, last

# Name → number of classes, and the tokens of the connector that tell it, from and to. Six tokens stand for the colours
# (each comes once at most), four for ordinals, five for shapes, and the last one for the answer.
VISIT_LABELS: dict[str, tuple[int, tuple[int, int]]] = {
    "shape of colour": (len(a.SHAPES) + 1, (0, 6)),  # the last class: does not come
    "rank of colour": (MOST_VISITS, (0, 6)),
    "colour of ordinal": (len(a.COLOURS), (6, 10)),
    "shape of ordinal": (len(a.SHAPES), (6, 10)),
    "count of shape": (MOST_VISITS, (10, 15)),
    "answer": (len(ANSWERS), (15, 16)),
}


def visit_labels(scene: ToyScene) -> dict[str, list[int]]:
    """Per name of VISIT_LABELS, but the answer, the class that each of its tokens is to tell; -100 where there is none."""
    colours, visits = list(a.COLOURS), scene.objects
    by_colour = {colours.index(visit.colour): (rank, visit) for rank, visit in enumerate(visits)}
    ordinals = [visits[i] for i in ORDINALS]

    def of_colour(tell, nothing: int) -> list[int]:
        return [tell(*by_colour[c]) if c in by_colour else nothing for c in range(len(colours))]

    return {
        "shape of colour": of_colour(lambda _, visit: a.SHAPES.index(visit.shape), len(a.SHAPES)),
        "rank of colour": of_colour(lambda rank, _: rank, -100),
        "colour of ordinal": [colours.index(visit.colour) for visit in ordinals],
        "shape of ordinal": [a.SHAPES.index(visit.shape) for visit in ordinals],
        "count of shape": [sum(visit.shape == shape for visit in visits) for shape in a.SHAPES],
    }


def distinct_frames(scene: ToyScene, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of `frames` (T,) that have to be looked at, and which of them each frame equals (T,).

    Nearly all pictures of a long clip show the same empty background: one of them stands for all.
    """
    there = np.zeros(len(frames), dtype=bool)
    for visit in scene.objects:
        there |= visit.is_there(frames)
    empty = np.flatnonzero(~there)[:1]
    chosen = np.sort(np.concatenate([empty, np.flatnonzero(there)]))
    where = np.searchsorted(chosen, np.where(there, np.arange(len(frames)), empty[0] if len(empty) else 0))
    return frames[chosen], where


@dataclass(frozen=True)
class LongQuestion:
    """A question about clip number `clip` of the training scenes, with what the clip shows."""

    clip: int
    question: ToyQuestion
    labels: dict[str, list[int]]


class LongQuestions:
    """Questions of LONG_FAMILIES about a fixed set of long clips; example `index` is made from its number alone.

    Args:
        clips: Number of scenes.
    """

    def __init__(self, clips: int) -> None:
        if clips < 1:
            raise ConfigError(f"questions take at least one clip, got {clips}")
        self.scenes = [train_scene(i, length="long") for i in range(clips)]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> LongQuestion:
        rng = np.random.default_rng([index, 14])
        while True:
            clip = int(rng.integers(len(self.scenes)))
            asked = question(self.scenes[clip], LONG_FAMILIES[int(rng.integers(len(LONG_FAMILIES)))], rng)
            if asked is not None:
                labels = {**visit_labels(self.scenes[clip]), "answer": [ANSWERS.index(asked.answer)]}
                return LongQuestion(clip, asked, labels)
