"""Dense labels: what each patch of each frame shows, for training encoders."""

# Axes: T frames, G patches along a side

from __future__ import annotations

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import Indices, render_ids
from vidweave.toyworld.scene import ToyScene

__all__ = ["LABEL_CLASSES", "NOTHING", "dense_labels"]

NOTHING = -1
"""Label of a patch that shows (nearly) no object: not to be learnt."""

LABEL_CLASSES: dict[str, tuple[str, ...]] = {
    "shape": a.SHAPES,
    "colour": tuple(a.COLOURS),
    "size": tuple(a.SIZES),
    "texture": a.TEXTURES,
}
"""Classified attributes → names of their classes, in the order of the labels."""


def dense_labels(
    scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX, patch: int = 8, least_share: float = 0.06
) -> dict[str, np.ndarray]:
    """What each patch shows: the object that covers most of it, if it covers at least `least_share`.

    Returns:
        `presence` (T, G, G) bool; `coverage` (T, G, G) float32, share of the patch that objects cover; `object`
        (T, G, G) int64, position in `scene.objects`; one int64 (T, G, G) per name of `LABEL_CLASSES`, NOTHING where
        no object is; `offset` (T, G, G, 2) float32, from the patch's middle to the object's, in patches.

    Raises:
        ConfigError: `size` is not a multiple of `patch`.
    """
    if size % patch:
        raise ConfigError(f"size must be a multiple of patch, got {size} and {patch}")
    indices = np.arange(scene.num_frames) if frames is None else np.asarray(frames, dtype=np.int64)
    grid = size // patch
    ids = render_ids(scene, frames=indices, size=size).reshape(len(indices), grid, patch, grid, patch)
    shares = np.stack([(ids == i).mean(axis=(2, 4)) for i in range(len(scene.objects))], axis=-1)
    presence = shares.max(axis=-1) >= least_share
    which = np.where(presence, shares.argmax(axis=-1), NOTHING)
    labels = {"presence": presence, "coverage": shares.sum(axis=-1).astype(np.float32), "object": which}
    for name, classes in LABEL_CLASSES.items():
        table = np.array([classes.index(getattr(o, name)) for o in scene.objects] + [NOTHING])
        labels[name] = table[which]
    labels["offset"] = _offsets(scene, indices, which, grid)
    return labels


def _offsets(scene: ToyScene, indices: np.ndarray, which: np.ndarray, grid: int) -> np.ndarray:
    """(T, G, G, 2) from each patch's middle to the middle of its object, in patches; zero where nothing is."""
    centres = np.stack([o.positions(indices) for o in scene.objects], axis=1) * (grid / a.WORLD_PX)
    here = np.take_along_axis(centres[:, None], np.maximum(which, 0)[..., None], axis=2) if grid else centres
    middle = np.stack(np.meshgrid(np.arange(grid) + 0.5, np.arange(grid) + 0.5), axis=-1)
    return np.where(which[..., None] >= 0, here - middle, 0).astype(np.float32)
