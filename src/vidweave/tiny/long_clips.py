"""Long clips of the toy world as training data: order and counts of visits, and questions about them."""

# Axes: T encoded frames, V visits

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
    "LONG_QUESTION_TYPES",
    "VISIT_LABELS",
    "LongQuestion",
    "LongQuestions",
    "distinct_frames",
    "visit_labels",
]

MOST_VISITS = 6
LONG_QUESTION_TYPES = ("first", "order", "visits")  # order and counts of visits
ANSWERS = (*a.COLOURS, "1", "2", "3", "4")
ORDINALS = (0, 1, 2, -1)  # first, second, third, last

# Name → number of classes, and the range of connector tokens that encode it. Six tokens represent the colors
# (each comes once at most), four the ordinals, five the shapes, and the last one the answer.
VISIT_LABELS: dict[str, tuple[int, tuple[int, int]]] = {
    "shape of colour": (len(a.SHAPES) + 1, (0, 6)),  # the last class: does not occur
    "rank of colour": (MOST_VISITS, (0, 6)),
    "colour of ordinal": (len(a.COLOURS), (6, 10)),
    "shape of ordinal": (len(a.SHAPES), (6, 10)),
    "count of shape": (MOST_VISITS, (10, 15)),
    "answer": (len(ANSWERS), (15, 16)),
}


def visit_labels(scene: ToyScene) -> dict[str, list[int]]:
    """Target classes of the tokens per name of VISIT_LABELS, except the answer; -100 where there is none."""
    colours, visits = list(a.COLOURS), scene.objects
    by_colour = {colours.index(visit.colour): (rank, visit) for rank, visit in enumerate(visits)}
    ordinals = [visits[i] for i in ORDINALS]

    def of_colour(label, absent: int) -> list[int]:
        return [label(*by_colour[c]) if c in by_colour else absent for c in range(len(colours))]

    return {
        "shape of colour": of_colour(lambda _, visit: a.SHAPES.index(visit.shape), len(a.SHAPES)),
        "rank of colour": of_colour(lambda rank, _: rank, -100),
        "colour of ordinal": [colours.index(visit.colour) for visit in ordinals],
        "shape of ordinal": [a.SHAPES.index(visit.shape) for visit in ordinals],
        "count of shape": [sum(visit.shape == shape for visit in visits) for shape in a.SHAPES],
    }


def distinct_frames(scene: ToyScene, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Select the distinct ones of `frames` (T,), and the index of each frame's equal among them (T,).

    Nearly all frames of a long clip show the same empty background: one of them represents all.
    """
    there = np.zeros(len(frames), dtype=bool)
    for visit in scene.objects:
        there |= visit.is_there(frames)
    empty = np.flatnonzero(~there)[:1]
    distinct = np.sort(np.concatenate([empty, np.flatnonzero(there)]))
    where = np.searchsorted(distinct, np.where(there, np.arange(len(frames)), empty[0] if len(empty) else 0))
    return frames[distinct], where


@dataclass(frozen=True)
class LongQuestion:
    """A question about clip number `clip` of the training scenes, with the labels of the clip."""

    clip: int
    question: ToyQuestion
    labels: dict[str, list[int]]


class LongQuestions:
    """Questions of LONG_QUESTION_TYPES about a fixed set of long clips; example `index` depends only on its number.

    Args:
        clips: Number of scenes.
    """

    def __init__(self, clips: int) -> None:
        if clips < 1:
            raise ConfigError(f"the source needs at least one clip, got {clips}")
        self.scenes = [train_scene(i, length="long") for i in range(clips)]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> LongQuestion:
        rng = np.random.default_rng([index, 14])
        while True:
            clip = int(rng.integers(len(self.scenes)))
            asked = question(self.scenes[clip], LONG_QUESTION_TYPES[int(rng.integers(len(LONG_QUESTION_TYPES)))], rng)
            if asked is not None:
                labels = {**visit_labels(self.scenes[clip]), "answer": [ANSWERS.index(asked.answer)]}
                return LongQuestion(clip, asked, labels)
