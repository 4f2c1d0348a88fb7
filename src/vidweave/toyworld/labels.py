"""Dense labels for training encoders: the content of each patch of each frame."""

# Axes: T frames, G patches along a side

from __future__ import annotations

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import Indices, point_ids, render_ids, touch_ids
from vidweave.toyworld.scene import ToyScene

__all__ = ["LABEL_CLASSES", "NOTHING", "MODALITY_CLASSES", "dense_labels", "modality_labels", "audio_labels"]

NOTHING = -1
"""Label of a patch that shows (nearly) no object; not trained on."""

LABEL_CLASSES: dict[str, tuple[str, ...]] = {
    "shape": a.SHAPES,
    "colour": tuple(a.COLOURS),
    "size": tuple(a.SIZES),
    "texture": a.TEXTURES,
}
"""Classified attributes → names of their classes, in the order of the labels."""

_QUARTERS = ("top left", "top right", "bottom left", "bottom right")
_PLACED = {m: {"quarter": _QUARTERS} for m in a.MODALITY_ATTRIBUTES if m != "touch"}

MODALITY_CLASSES: dict[str, dict[str, tuple[str, ...]]] = {
    **{
        m: {"shape": (*a.SHAPES, "nothing"), n: a.VALUES[n], **_PLACED.get(m, {})}
        for m, n in a.MODALITY_ATTRIBUTES.items()
    },
    "audio": {"beeps": ("0", "1", "2"), "pitch": a.VALUES["pitch"]},
}
"""Modality → label of its patches → names of the classes, in the order of the labels."""


def dense_labels(
    scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX, patch: int = 8, least_share: float = 0.06
) -> dict[str, np.ndarray]:
    """Label each patch with the object that covers most of it, if it covers at least `least_share`.

    Returns:
        `presence` (T, G, G) bool; `coverage` (T, G, G) float32, share of the patch that objects cover; `object`
        (T, G, G) int64, position in `scene.objects`; one int64 (T, G, G) per name of `LABEL_CLASSES`, NOTHING where
        there is no object; `offset` (T, G, G, 2) float32, from the patch's center to the object's, in patches.

    Raises:
        ConfigError: `size` is not a multiple of `patch`.
    """
    indices = np.arange(scene.num_frames) if frames is None else np.asarray(frames, dtype=np.int64)
    shares, which = _covering(scene, render_ids(scene, frames=indices, size=size), patch, least_share)
    labels = {"presence": which >= 0, "coverage": shares.sum(axis=-1).astype(np.float32), "object": which}
    labels |= {name: _classes(scene, which, name, classes) for name, classes in LABEL_CLASSES.items()}
    labels["offset"] = _offsets(scene, indices, which, size // patch)
    return labels


def modality_labels(
    scene: ToyScene, modality: str, *, frames: Indices = None, size: int = a.WORLD_PX, patch: int = 8
) -> dict[str, np.ndarray]:
    """Label the facts that a modality shows in each patch of its frames, or of the point cloud seen from the front.

    Returns:
        (T, G, G) int64 per name of `MODALITY_CLASSES[modality]`: the shape of the object that covers most of the patch,
        the last class where there is none; its attribute that only this modality shows, NOTHING where there is none;
        and the object's quarter, or the patch's own where there is none (touch has no position).

    Raises:
        ConfigError: `size` is not a multiple of `patch`.
    """
    if modality == "point_cloud":
        ids = point_ids(scene, size=size)
    else:
        ids = (touch_ids if modality == "touch" else render_ids)(scene, frames=frames, size=size)
    _, which = _covering(scene, ids, patch, 0.06)
    labeled = MODALITY_CLASSES[modality]
    labels = {name: _classes(scene, which, name, classes) for name, classes in labeled.items() if name != "quarter"}
    labels["shape"] = np.where(which >= 0, labels["shape"], len(a.SHAPES))
    if "quarter" in labeled:
        labels["quarter"] = _quarters(scene, which)
    return labels


def audio_labels(scene: ToyScene, parts: int) -> dict[str, np.ndarray]:
    """Label each of `parts` equal parts of the clip: (parts,) int64 per name of `MODALITY_CLASSES["audio"]`, the number of
    beeps that start (two and more are one class), and the pitch, NOTHING where none starts."""
    beeps = np.zeros(parts, np.int64)
    pitch = np.full(parts, NOTHING, np.int64)
    for obj in scene.objects:
        at = np.asarray(obj.beeps, np.int64) * parts // scene.num_frames
        np.add.at(beeps, at, 1)
        pitch[at] = a.VALUES["pitch"].index(obj.pitch)
    return {"beeps": beeps.clip(max=2), "pitch": pitch}


def _quarters(scene: ToyScene, which: np.ndarray) -> np.ndarray:
    """Quarter (T, G, G) of each patch's object, or of the patch itself."""
    quarters = np.array([obj.quarter for obj in scene.objects])
    low = np.arange(which.shape[1]) >= which.shape[1] / 2
    return np.where(which >= 0, quarters[which], 2 * low[:, None] + low[None, :])


def _covering(scene: ToyScene, ids: np.ndarray, patch: int, least_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of each patch that each object covers (T, G, G, objects), and the object that covers most of it (T, G, G)."""
    frames, size = ids.shape[:2]
    if size % patch:
        raise ConfigError(f"size must be a multiple of patch, got {size} and {patch}")
    grid = size // patch
    ids = ids.reshape(frames, grid, patch, grid, patch)
    shares = np.stack([(ids == i).mean(axis=(2, 4)) for i in range(len(scene.objects))], axis=-1)
    return shares, np.where(shares.max(axis=-1) >= least_share, shares.argmax(axis=-1), NOTHING)


def _classes(scene: ToyScene, which: np.ndarray, name: str, classes: tuple[str, ...]) -> np.ndarray:
    return np.array([classes.index(getattr(o, name)) for o in scene.objects] + [NOTHING])[which]


def _offsets(scene: ToyScene, indices: np.ndarray, which: np.ndarray, grid: int) -> np.ndarray:
    """Offset (T, G, G, 2) from each patch's center to the center of its object, in patches; zero without an object."""
    centres = np.stack([o.positions(indices) for o in scene.objects], axis=1) * (grid / a.WORLD_PX)
    here = np.take_along_axis(centres[:, None], np.maximum(which, 0)[..., None], axis=2) if grid else centres
    middle = np.stack(np.meshgrid(np.arange(grid) + 0.5, np.arange(grid) + 0.5), axis=-1)
    return np.where(which[..., None] >= 0, here - middle, 0).astype(np.float32)
