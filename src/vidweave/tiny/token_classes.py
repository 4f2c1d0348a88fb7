"""Clips of the toy world with labels for every token of an encoder that reads one or several frames at once."""

# Axes: F frames, H height, W width, N tokens of all segments of a clip

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidweave.errors import ConfigError
from vidweave.tiny.scenes import ENDLESS, LABEL_CLASSES, NOTHING, train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.labels import dense_labels
from vidweave.toyworld.render import render_rgb
from vidweave.toyworld.scene import ToyObject

__all__ = ["SPEEDS", "TOKEN_CLASSES", "LabeledTokens", "TokenExample"]

SPEEDS = ("slow", "fast")
_QUARTERS = ("top left", "top right", "bottom left", "bottom right")
TOKEN_CLASSES: dict[str, tuple[str, ...]] = {
    "motion": a.MOTIONS,
    "speed": SPEEDS,
    "quarter": _QUARTERS,
    **LABEL_CLASSES,
}
"""Label of a token → names of the classes, in the order of the labels."""


@dataclass(frozen=True)
class TokenExample:
    """Frames (F, H, W, 3) uint8 and labels (N,): int64 per name, NOTHING where there is none, and `presence`."""

    frames: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabeledTokens(Sequence[TokenExample]):
    """Short scenes, and per token of an encoder the attributes of the object that covers it most.

    An empty token is labeled with its own quarter. A still object has no speed.

    Attributes:
        names: Names of TOKEN_CLASSES.
        patch, tube: A token covers `tube` frames of `patch` x `patch` pixels.
        frames: Frames of a clip: evenly spread, or at random times if a token covers one frame (`tube` 1).
    """

    names: tuple[str, ...]
    patch: int
    tube: int
    frames: int

    def __post_init__(self) -> None:
        if self.frames % self.tube:
            raise ConfigError(f"frames must be a multiple of tube, got {self.frames} and {self.tube}")

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> TokenExample:  # type: ignore[override]
        scene = train_scene(index)
        last = scene.num_frames - 1
        times = np.linspace(0, last, self.frames)
        if self.tube == 1:
            times = np.random.default_rng([index, 16]).integers(0, last + 1, self.frames)
        frames = np.rint(times).astype(np.int64)
        which = self._shown(dense_labels(scene, frames=frames, patch=self.patch)["object"], len(scene.objects))
        labels = {
            name: np.array([_class_of(obj, name) for obj in scene.objects] + [NOTHING])[which] for name in self.names
        }
        if "quarter" in labels:
            labels["quarter"] = np.where(
                which == NOTHING, self._own_quarters(a.WORLD_PX // self.patch), labels["quarter"]
            )
        return TokenExample(render_rgb(scene, frames=frames), {**labels, "presence": which != NOTHING})

    def _shown(self, objects: np.ndarray, count: int) -> np.ndarray:
        """Select per token the object that covers it in most frames: (F, G, G) → (N,), NOTHING for none."""
        tubes = objects.reshape(-1, self.tube, objects[0].size)
        shows = np.stack([(tubes == number).sum(1).flatten() for number in range(count)])
        return np.where(shows.max(0) > 0, shows.argmax(0), NOTHING)

    def _own_quarters(self, side: int) -> np.ndarray:
        """Quarter (N,) of each token's own position."""
        low = np.arange(side) >= side / 2
        return np.tile((2 * low[:, None] + low[None]).flatten(), self.frames // self.tube)


def _class_of(obj: ToyObject, name: str) -> int:
    if name == "quarter":
        return obj.quarter
    if name == "speed" and obj.motion == "still":
        return NOTHING
    return TOKEN_CLASSES[name].index(getattr(obj, name))
