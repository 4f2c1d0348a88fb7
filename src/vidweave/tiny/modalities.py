"""What each sense makes of scenes of the training split, with labels for every patch: how the senses' encoders learn."""

# Axes: F frames, G patches along a side, N tokens of an encoder

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidweave.tiny.scenes import ENDLESS, train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.labels import SENSE_CLASSES, sense_labels, sound_labels
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Frames, PointCloud, Waveform

__all__ = [
    "SENSE_CLASSES",
    "SENSE_SAYS",
    "SENSE_SLOTS",
    "LabelledSense",
    "LabelledSenses",
    "SlotTable",
    "said_by_senses",
]


@dataclass(frozen=True)
class LabelledSense:
    """Raw media of one sense, and per name of `SENSE_CLASSES[sense]` the classes (F, N) of its encoder's tokens."""

    media: Frames | Waveform | PointCloud
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabelledSenses(Sequence[Mapping[str, LabelledSense]]):
    """Short scenes through several senses: an example is sense → media and labels.

    Attributes:
        senses: Names of `SENSE_CLASSES`.
        frames: Pictures of each sense that makes some.
        patch: Side of a patch of theirs in pixels.
        sound_parts: Tokens of sound, each a part of the clip.
    """

    senses: tuple[str, ...] = tuple(SENSE_CLASSES)
    frames: int = 1
    patch: int = 8
    sound_parts: int = 8

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Mapping[str, LabelledSense]:  # type: ignore[override]
        scene = train_scene(index)
        frames = np.random.default_rng([index, 14]).integers(0, scene.num_frames, self.frames)
        found = {}
        for sense in self.senses:
            if sense == "audio":
                labels = {name: row[None] for name, row in sound_labels(scene, self.sound_parts).items()}
            else:
                labels = sense_labels(scene, sense, frames=frames, patch=self.patch)
            flat = {name: label.reshape(len(label), -1) for name, label in labels.items()}
            found[sense] = LabelledSense(render(scene, sense, frames=frames), flat)
        return found


@dataclass(frozen=True)
class SlotTable:
    """Which tokens of a connector tell what a sense says of a clip: `count` of them from `first` on, each asked for every
    name of `classes`."""

    first: int
    count: int
    classes: dict[str, tuple[str, ...]]


SENSE_SLOTS: dict[str, SlotTable] = {
    **{sense: SlotTable(0, 4, {name: a.VALUES[name]}) for sense, name in a.SENSES.items() if sense != "touch"},
    "touch": SlotTable(4, len(a.SHAPES), {"firmness": a.VALUES["firmness"], "shape": a.SHAPES}),
    "audio": SlotTable(9, 1, {"pitch": a.VALUES["pitch"], "beeps": ("1", "2", "3", "4")}),
}
"""Sense → its tokens: one per quarter of the picture for senses that know places, one per shape for touch, one for sound."""

SENSE_SAYS: tuple[tuple[str, str, str], ...] = tuple(
    (sense, name, value)
    for sense, table in SENSE_SLOTS.items()
    for name, values in table.classes.items()
    for value in values
)
"""All that senses can say of an object or a sound: sense, name, value."""


def said_by_senses(scene: ToyScene, tokens: int) -> dict[str, np.ndarray]:
    """Sense → (tokens, len(SENSE_SAYS)) bool: what each token of a connector says of a short scene, as `SENSE_SLOTS` has it."""
    told = {sense: np.zeros((tokens, len(SENSE_SAYS)), bool) for sense in SENSE_SLOTS}
    for sense in a.SENSES:
        for obj in scene.objects:
            token = SENSE_SLOTS[sense].first + (a.SHAPES.index(obj.shape) if sense == "touch" else obj.quarter)
            for fact in SENSE_SLOTS[sense].classes:
                told[sense][token, SENSE_SAYS.index((sense, fact, getattr(obj, fact)))] = True
    if (beeper := scene.beeper) is not None:
        for name, value in (("pitch", beeper.pitch), ("beeps", str(len(beeper.beeps)))):
            told["audio"][SENSE_SLOTS["audio"].first, SENSE_SAYS.index(("audio", name, value))] = True
    return told
