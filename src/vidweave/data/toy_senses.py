"""What each sense makes of scenes of the training split, with labels for every patch: how the senses' encoders learn."""

# Axes: F frames, G patches along a side, N tokens of an encoder

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidweave.data.toy_training import ENDLESS, train_scene
from vidweave.toyworld.labels import SENSE_CLASSES, sense_labels, sound_labels
from vidweave.toyworld.render import render
from vidweave.types import Frames, PointCloud, Waveform

__all__ = ["SENSE_CLASSES", "LabelledSense", "LabelledSenses"]


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
        sound_grid: Parts in time, and bands of pitch, of the tokens of sound.
    """

    senses: tuple[str, ...] = tuple(SENSE_CLASSES)
    frames: int = 1
    patch: int = 8
    sound_grid: tuple[int, int] = (8, 3)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Mapping[str, LabelledSense]:  # type: ignore[override]
        scene = train_scene(index)
        frames = np.random.default_rng([index, 14]).integers(0, scene.num_frames, self.frames)
        parts, bands = self.sound_grid
        found = {}
        for sense in self.senses:
            if sense == "audio":
                labels = {name: np.repeat(row, bands)[None] for name, row in sound_labels(scene, parts).items()}
            else:
                labels = sense_labels(scene, sense, frames=frames, patch=self.patch)
            flat = {name: label.reshape(len(label), -1) for name, label in labels.items()}
            found[sense] = LabelledSense(render(scene, sense, frames=frames), flat)
        return found
