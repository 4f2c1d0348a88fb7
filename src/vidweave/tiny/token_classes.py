"""Clips of the toy world with labels for every token of an eye that looks at one or several pictures at once."""

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

__all__ = ["SPEEDS", "TOKEN_CLASSES", "LabelledTokens", "TokenExample"]

SPEEDS = ("slow", "fast")
_QUARTERS = ("top left", "top right", "bottom left", "bottom right")
TOKEN_CLASSES: dict[str, tuple[str, ...]] = {
    "motion": a.MOTIONS,
    "speed": SPEEDS,
    "quarter": _QUARTERS,
    **LABEL_CLASSES,
}
"""What a token may be asked for → names of the classes, in the order of the labels."""


@dataclass(frozen=True)
class TokenExample:
    """Pictures (F, H, W, 3) uint8 and labels (N,): int64 per name, NOTHING where there is nothing to tell, and `presence`."""

    pictures: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class LabelledTokens(Sequence[TokenExample]):
    """Short scenes, and per token of an eye what the object is like that shows there most.

    A token that shows nothing has the quarter in which it stands itself. What stands still has no speed.

    Attributes:
        names: Of TOKEN_CLASSES.
        patch, tube: A token begins from `tube` pictures of `patch` x `patch` pixels.
        frames: Pictures of a clip: evenly spread, or at random moments where a token begins from one (`tube` 1).
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
        moments = np.linspace(0, last, self.frames)
        if self.tube == 1:
            moments = np.random.default_rng([index, 16]).integers(0, last + 1, self.frames)
        frames = np.rint(moments).astype(np.int64)
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
        """Objects (F, G, G) by number → (N,) the one that shows in most pictures of each token, or NOTHING."""
        tubes = objects.reshape(-1, self.tube, objects[0].size)
        shows = np.stack([(tubes == number).sum(1).flatten() for number in range(count)])
        return np.where(shows.max(0) > 0, shows.argmax(0), NOTHING)

    def _own_quarters(self, side: int) -> np.ndarray:
        """(N,) the quarter of each token's own place."""
        low = np.arange(side) >= side / 2
        return np.tile((2 * low[:, None] + low[None]).flatten(), self.frames // self.tube)


def _class_of(obj: ToyObject, name: str) -> int:
    if name == "quarter":
        return obj.quarter
    if name == "speed" and obj.motion == "still":
        return NOTHING
    return TOKEN_CLASSES[name].index(getattr(obj, name))
