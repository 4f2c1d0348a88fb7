"""The toy world as training data: labeled frames, fact sheets to read, and questions about clips.

All sources are map-style and practically endless: example `index` depends only on its number, from scenes of
the training split.
"""

# Axes: F frames, H height, W width, G patches along a side

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import description, fact_sheet
from vidweave.toyworld.labels import LABEL_CLASSES, NOTHING, dense_labels
from vidweave.toyworld.questions import QUESTION_TYPES, ToyQuestion, question
from vidweave.toyworld.render import render_rgb
from vidweave.toyworld.scene import ToyScene, sample_scene
from vidweave.toyworld.splits import SEEDS, split_seed

__all__ = [
    "ENDLESS",
    "LABEL_CLASSES",
    "NOTHING",
    "QUARTERS",
    "SLOT_CLASSES",
    "ClipExample",
    "ClipQuestions",
    "FactQuestions",
    "FactQuestion",
    "LabeledFrames",
    "FrameExample",
    "quarter_labels",
    "train_scene",
]

ENDLESS = 2**31


def train_scene(index: int, **kwargs: Any) -> ToyScene:
    """Sample scene number `index` of the training split."""
    return sample_scene(split_seed("train", index % len(SEEDS["train"])), **kwargs)


@dataclass(frozen=True)
class FrameExample:
    """Frames (F, H, W, 3) uint8 of one scene, and labels of each patch: name → (F, G * G, ...)."""

    frames: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabeledFrames:
    """Frames of short and long scenes with dense labels.

    Attributes:
        frames: Number of frames per example, all of one scene.
        long_share: Share of the examples that show long scenes, at their events.
        patch: Side of a patch in pixels.
    """

    frames: int = 2
    long_share: float = 0.3
    patch: int = 8

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> FrameExample:
        rng = np.random.default_rng([index, 11])
        if rng.random() < self.long_share:
            scene = train_scene(index, length="long")
            event = scene.objects[rng.integers(len(scene.objects))]
            frames = rng.integers(max(0, event.start_frame - 1), event.end_frame + 1, self.frames)
        else:
            scene = train_scene(index)
            frames = rng.integers(0, scene.num_frames, self.frames)
        frames = np.minimum(frames, scene.num_frames - 1)
        labels = dense_labels(scene, frames=frames, patch=self.patch)
        names = ("presence", "offset", *LABEL_CLASSES)
        flat = {name: labels[name].reshape(len(frames), -1, *labels[name].shape[3:]) for name in names}
        return FrameExample(render_rgb(scene, frames=frames), flat)


@dataclass(frozen=True)
class FactQuestion:
    """A fact sheet and a question that it answers."""

    facts: str
    question: str
    answer: str


@dataclass(frozen=True)
class FactQuestions:
    """Reading comprehension on fact sheets, over every question type, also those whose modality has no renderer yet.

    A sheet contains the facts of the question's modalities, and those of each other one with probability `other_modalities`.
    """

    other_modalities: float = 0.1

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> FactQuestion:
        rng = np.random.default_rng([index, 12])
        names = list(QUESTION_TYPES)
        while True:
            question_type = QUESTION_TYPES[names[rng.integers(len(names))]]
            scene = train_scene(int(rng.integers(len(SEEDS["train"]))), length=question_type.scope)
            drawn = question(scene, question_type.name, rng)
            if drawn is not None:
                return FactQuestion(
                    fact_sheet(scene, rng=rng, modalities=self._modalities(drawn, rng)), drawn.text, drawn.answer
                )

    def _modalities(self, drawn: ToyQuestion, rng: np.random.Generator) -> set[str]:
        others = {m for question_type in QUESTION_TYPES.values() for m in question_type.needs}
        return set(drawn.needs) | {m for m in sorted(others) if rng.random() < self.other_modalities}


QUARTERS = 4
SLOT_CLASSES: dict[str, tuple[str, ...]] = {
    "shape": (*a.SHAPES, "nothing"),
    "colour": tuple(a.COLOURS),
    "size": tuple(a.SIZES),
    "motion": a.MOTIONS,
    "change": ("stays", "appears", "vanishes"),
}
"""Labels of a quarter of the frame in a short clip; an empty one has the shape `nothing`."""


def quarter_labels(scene: ToyScene) -> dict[str, list[int]]:
    """Class of each quarter (row by row) per name of SLOT_CLASSES, -100 where there is none."""
    labels = {name: [-100] * QUARTERS for name in SLOT_CLASSES} | {"shape": [len(a.SHAPES)] * QUARTERS}
    for obj in scene.objects:
        for name, classes in SLOT_CLASSES.items():
            labels[name][obj.quarter] = classes.index(getattr(obj, name))
    return labels


@dataclass(frozen=True)
class ClipExample:
    """A clip (the result of `encode`), its description, its labels, and questions about it."""

    clip: Any
    description: str
    quarters: dict[str, list[int]]
    questions: list[ToyQuestion]


class ClipQuestions(Sequence[ClipExample]):
    """Questions about a fixed set of clips: an example is a clip and some questions.

    A clip is encoded for its first question, and kept: a short run encodes only the clips it uses.

    Args:
        clips: Number of scenes.
        question_types: Question types; each is asked equally often, as far as the scenes allow.
        encode: Scene → representation of its clip (features).
        per_clip: Questions of one example, of distinct types.
        scene: Keywords of `sample_scene`.
    """

    def __init__(
        self,
        clips: int,
        question_types: Sequence[str],
        encode: Callable[[ToyScene], Any],
        *,
        per_clip: int = 4,
        **scene: Any,
    ) -> None:
        if not 1 <= per_clip <= len(question_types):
            raise ConfigError(
                f"per_clip must be 1 to {len(question_types)} (the number of question types), got {per_clip}"
            )
        self.question_types = list(question_types)
        self.per_clip = per_clip
        self.clips = clips
        self._scene = scene
        self._encode = encode
        self._encoded: dict[int, Any] = {}

    def asking(self, question_types: Sequence[str], per_clip: int) -> ClipQuestions:
        """Return a source of other questions about the same clips, sharing the encoded clips."""
        other = ClipQuestions(self.clips, question_types, self._encode, per_clip=per_clip, **self._scene)
        other._encoded = self._encoded
        return other

    def scene(self, clip: int) -> ToyScene:
        """Return the scene of clip number `clip`."""
        return train_scene(clip, **self._scene)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> ClipExample:  # type: ignore[override]
        rng = np.random.default_rng([index, 13])
        while True:  # a scene of one object has few questions: try another one
            clip = int(rng.integers(self.clips))
            scene = self.scene(clip)
            order = [self.question_types[i] for i in rng.permutation(len(self.question_types))]
            drawn = [q for question_type in order if (q := question(scene, question_type, rng)) is not None]
            if len(drawn) >= self.per_clip:
                return ClipExample(
                    self._clip(clip, scene), description(scene), quarter_labels(scene), drawn[: self.per_clip]
                )

    def _clip(self, clip: int, scene: ToyScene) -> Any:
        if clip not in self._encoded:
            self._encoded[clip] = self._encode(scene)
        return self._encoded[clip]
