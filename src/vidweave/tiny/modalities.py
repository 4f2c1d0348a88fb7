"""Scenes of the training split in each modality with labels for every patch, for training the modalities' encoders."""

# Axes: F frames, G patches along a side, N tokens of an encoder

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidweave.tiny.scenes import ENDLESS, train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.labels import MODALITY_CLASSES, audio_labels, modality_labels
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Frames, PointCloud, Waveform

__all__ = [
    "MODALITY_CLASSES",
    "MODALITY_FACTS",
    "MODALITY_SLOTS",
    "ModalityExample",
    "LabeledModalities",
    "SlotTable",
    "modality_facts",
]


@dataclass(frozen=True)
class ModalityExample:
    """Raw media of one modality, and per name of its `MODALITY_CLASSES` the classes (F, N) of its encoder's tokens."""

    media: Frames | Waveform | PointCloud
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabeledModalities(Sequence[Mapping[str, ModalityExample]]):
    """Short scenes in several modalities: an example maps each modality to media and labels.

    Attributes:
        modalities: Names of `MODALITY_CLASSES`.
        frames: Frames of each frame modality.
        patch: Side of their patches in pixels.
        audio_parts: Audio tokens, each a part of the clip.
    """

    modalities: tuple[str, ...] = tuple(MODALITY_CLASSES)
    frames: int = 1
    patch: int = 8
    audio_parts: int = 8

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Mapping[str, ModalityExample]:  # type: ignore[override]
        scene = train_scene(index)
        frames = np.random.default_rng([index, 14]).integers(0, scene.num_frames, self.frames)
        examples = {}
        for modality in self.modalities:
            if modality == "audio":
                labels = {name: row[None] for name, row in audio_labels(scene, self.audio_parts).items()}
            else:
                labels = modality_labels(scene, modality, frames=frames, patch=self.patch)
            flat = {name: label.reshape(len(label), -1) for name, label in labels.items()}
            examples[modality] = ModalityExample(render(scene, modality, frames=frames), flat)
        return examples


@dataclass(frozen=True)
class SlotTable:
    """Tokens of a connector that encode the facts of a modality: `count` of them starting at `first`, each labeled with
    every name of `classes`."""

    first: int
    count: int
    classes: dict[str, tuple[str, ...]]


MODALITY_SLOTS: dict[str, SlotTable] = {
    **{
        modality: SlotTable(0, 4, {name: a.VALUES[name]})
        for modality, name in a.MODALITY_ATTRIBUTES.items()
        if modality != "touch"
    },
    "touch": SlotTable(4, len(a.SHAPES), {"firmness": a.VALUES["firmness"], "shape": a.SHAPES}),
    "audio": SlotTable(9, 1, {"pitch": a.VALUES["pitch"], "beeps": ("1", "2", "3", "4")}),
}
"""Modality → its tokens: one per quarter of the frame for modalities with positions, one per shape for touch, one for audio."""

MODALITY_FACTS: tuple[tuple[str, str, str], ...] = tuple(
    (modality, name, value)
    for modality, table in MODALITY_SLOTS.items()
    for name, values in table.classes.items()
    for value in values
)
"""All facts that modalities can show of an object or of the audio: modality, name, value."""


def modality_facts(scene: ToyScene, tokens: int) -> dict[str, np.ndarray]:
    """Modality → (tokens, len(MODALITY_FACTS)) bool: facts of a short scene per connector token, by `MODALITY_SLOTS`."""
    facts = {modality: np.zeros((tokens, len(MODALITY_FACTS)), bool) for modality in MODALITY_SLOTS}
    for modality in a.MODALITY_ATTRIBUTES:
        slots = MODALITY_SLOTS[modality]
        for obj in scene.objects:
            token = slots.first + (a.SHAPES.index(obj.shape) if modality == "touch" else obj.quarter)
            for name in slots.classes:
                facts[modality][token, MODALITY_FACTS.index((modality, name, getattr(obj, name)))] = True
    if (beeper := scene.beeper) is not None:
        for name, value in (("pitch", beeper.pitch), ("beeps", str(len(beeper.beeps)))):
            facts["audio"][MODALITY_SLOTS["audio"].first, MODALITY_FACTS.index(("audio", name, value))] = True
    return facts
