"""The toy world as training data: labelled pictures, fact sheets to read, and questions about clips.

All sources are map-style and endless for practical purposes: example `index` is made from its number alone, from scenes of
the training split.
"""

# Axes: F pictures, H height, W width, G patches along a side

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import description, fact_sheet
from vidweave.toyworld.labels import LABEL_CLASSES, NOTHING, dense_labels
from vidweave.toyworld.questions import FAMILIES, ToyQuestion, question
from vidweave.toyworld.render import render_rgb
from vidweave.toyworld.scene import ToyScene, sample_scene
from vidweave.toyworld.splits import SEEDS, split_seed

__all__ = [
    "LABEL_CLASSES",
    "NOTHING",
    "QUARTERS",
    "SLOT_CLASSES",
    "ClipExample",
    "ClipQuestions",
    "FactQuestions",
    "FactQuestion",
    "LabelledPictures",
    "LabelledPicture",
    "quarter_labels",
    "train_scene",
]

ENDLESS = 2**31


def train_scene(index: int, **kwargs: Any) -> ToyScene:
    """The scene number `index` of the training split."""
    return sample_scene(split_seed("train", index % len(SEEDS["train"])), **kwargs)


@dataclass(frozen=True)
class LabelledPicture:
    """Pictures (F, H, W, 3) uint8 of one scene, and what each patch shows: name → (F, G * G, ...)."""

    pictures: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures of short and long scenes with dense labels.

    Attributes:
        pictures: How many of one scene make an example.
        long_share: Part of the examples that show long scenes, at their events.
        patch: Side of a patch in pixels.
    """

    pictures: int = 2
    long_share: float = 0.3
    patch: int = 8

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> LabelledPicture:
        rng = np.random.default_rng([index, 11])
        if rng.random() < self.long_share:
            scene = train_scene(index, length="long")
            event = scene.objects[rng.integers(len(scene.objects))]
            frames = rng.integers(max(0, event.start_frame - 1), event.end_frame + 1, self.pictures)
        else:
            scene = train_scene(index)
            frames = rng.integers(0, scene.num_frames, self.pictures)
        frames = np.minimum(frames, scene.num_frames - 1)
        labels = dense_labels(scene, frames=frames, patch=self.patch)
        names = ("presence", "offset", *LABEL_CLASSES)
        flat = {name: labels[name].reshape(len(frames), -1, *labels[name].shape[3:]) for name in names}
        return LabelledPicture(render_rgb(scene, frames=frames), flat)


@dataclass(frozen=True)
class FactQuestion:
    """A fact sheet and a question that it answers."""

    facts: str
    question: str
    answer: str


@dataclass(frozen=True)
class FactQuestions:
    """Reading comprehension on fact sheets, over every family, also those whose sense has no renderer yet.

    A sheet tells what the question's senses tell, and each other sense's facts with probability `other_senses`.
    """

    other_senses: float = 0.1

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> FactQuestion:
        rng = np.random.default_rng([index, 12])
        names = list(FAMILIES)
        while True:
            family = FAMILIES[names[rng.integers(len(names))]]
            scene = train_scene(int(rng.integers(len(SEEDS["train"]))), length=family.scope)
            asked = question(scene, family.name, rng)
            if asked is not None:
                return FactQuestion(
                    fact_sheet(scene, rng=rng, modalities=self._senses(asked, rng)), asked.text, asked.answer
                )

    def _senses(self, asked: ToyQuestion, rng: np.random.Generator) -> set[str]:
        others = {m for family in FAMILIES.values() for m in family.needs}
        return set(asked.needs) | {m for m in sorted(others) if rng.random() < self.other_senses}


QUARTERS = 4
SLOT_CLASSES: dict[str, tuple[str, ...]] = {
    "shape": (*a.SHAPES, "nothing"),
    "colour": tuple(a.COLOURS),
    "size": tuple(a.SIZES),
    "motion": a.MOTIONS,
    "change": ("stays", "appears", "vanishes"),
}
"""What is told of a quarter of the picture in a short clip; an empty one has the shape `nothing`."""


def quarter_labels(scene: ToyScene) -> dict[str, list[int]]:
    """Per name of SLOT_CLASSES the class in each quarter (row by row), -100 where there is nothing to tell."""
    labels = {name: [-100] * QUARTERS for name in SLOT_CLASSES} | {"shape": [len(a.SHAPES)] * QUARTERS}
    for obj in scene.objects:
        for name, classes in SLOT_CLASSES.items():
            labels[name][obj.quarter] = classes.index(getattr(obj, name))
    return labels


@dataclass(frozen=True)
class ClipExample:
    """A clip (what `encode` made of it), what is seen in words and in labels, and questions about it."""

    clip: Any
    description: str
    quarters: dict[str, list[int]]
    questions: list[ToyQuestion]


class ClipQuestions(Sequence[ClipExample]):
    """Questions about a fixed set of clips: an example is a clip and some questions.

    A clip is encoded when it is first asked about, and kept: a short run pays only for the clips it sees.

    Args:
        clips: Number of scenes.
        families: Question families; each is asked equally often, as far as scenes have something to ask for.
        encode: Scene → what stands for its clip (features).
        per_clip: Questions of one example, of distinct families.
        scene: Keywords of `sample_scene`.
    """

    def __init__(
        self,
        clips: int,
        families: Sequence[str],
        encode: Callable[[ToyScene], Any],
        *,
        per_clip: int = 4,
        **scene: Any,
    ) -> None:
        if not 1 <= per_clip <= len(families):
            raise ConfigError(f"per_clip must be 1 to {len(families)} (the number of families), got {per_clip}")
        self.families = list(families)
        self.per_clip = per_clip
        self.clips = clips
        self._scene = scene
        self._encode = encode
        self._known: dict[int, Any] = {}

    def asking(self, families: Sequence[str], per_clip: int) -> ClipQuestions:
        """Other questions about the same clips; what was encoded for one is known to the other."""
        other = ClipQuestions(self.clips, families, self._encode, per_clip=per_clip, **self._scene)
        other._known = self._known
        return other

    def scene(self, clip: int) -> ToyScene:
        """The scene of clip number `clip`."""
        return train_scene(clip, **self._scene)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> ClipExample:  # type: ignore[override]
        rng = np.random.default_rng([index, 13])
        while True:  # a scene of one object has little to ask for: take another one then
            clip = int(rng.integers(self.clips))
            scene = self.scene(clip)
            order = [self.families[i] for i in rng.permutation(len(self.families))]
            asked = [found for family in order if (found := question(scene, family, rng)) is not None]
            if len(asked) >= self.per_clip:
                return ClipExample(
                    self._clip(clip, scene), description(scene), quarter_labels(scene), asked[: self.per_clip]
                )

    def _clip(self, clip: int, scene: ToyScene) -> Any:
        if clip not in self._known:
            self._known[clip] = self._encode(scene)
        return self._known[clip]
