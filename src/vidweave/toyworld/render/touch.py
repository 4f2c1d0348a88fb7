"""Renderer of touch: the imprint of one object after the other in a soft sensor."""

# Axes: T frames, H height, W width

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.sprites import Indices, indices_of, sprite
from vidweave.toyworld.scene import ToyScene

__all__ = ["render_touch", "touch_ids", "touched"]

_MILLIMETRES = {"hard": 1.0, "soft": 0.5}
_EXTENT = 0.75  # share of the sensor that an object covers, whatever its size


def render_touch(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W) float32, the depth of the imprint in millimeters: hard objects leave a deep imprint with a sharp
    edge, soft ones a shallow, blurred one. Neither position nor size is visible."""
    out = np.zeros((len(indices := indices_of(scene, frames)), size, size), np.float32)
    for t, i in enumerate(touched(scene, indices).tolist()):
        if i >= 0:
            out[t] = _imprint(scene.objects[i].shape, scene.objects[i].firmness, size)
    noise = np.random.default_rng([scene.seed, 14]).normal(0, 0.02, (size, size))
    return out + noise.astype(np.float32)


def touched(scene: ToyScene, frames: np.ndarray) -> np.ndarray:
    """Position (T,) in `scene.objects` of the touched object: in a short clip all objects in turn, for equal parts of it;
    in a long one the visiting object, and -1 between visits."""
    if scene.length == "short":
        return frames * len(scene.objects) // scene.num_frames
    there = np.stack([obj.is_there(frames) for obj in scene.objects])
    return np.where(there.any(axis=0), there.argmax(axis=0), -1)


def touch_ids(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Position (T, H, W) int8 in `scene.objects` of the object that presses on each pixel of the sensor, -1 for none."""
    order = touched(scene, indices_of(scene, frames)).tolist()
    pressed = [_pressed(scene.objects[i].shape, size) > 0 if i >= 0 else np.zeros((size, size), bool) for i in order]
    return np.stack([np.where(mask, i, -1) for mask, i in zip(pressed, order, strict=True)]).astype(np.int8)


@lru_cache(maxsize=64)
def _imprint(shape: str, firmness: str, size: int) -> np.ndarray:
    pressed = _pressed(shape, size)
    if firmness == "soft":
        for _ in range(max(1, round(size / 12))):
            pressed = _blurred(_blurred(pressed).T).T
    return _MILLIMETRES[firmness] * pressed


def _pressed(shape: str, size: int) -> np.ndarray:
    """Mask (H, W) float32: 1 where the shape lies on the sensor."""
    n = round(_EXTENT * size)
    left = (size - n) // 2
    pressed = np.zeros((size, size), np.float32)
    pressed[left : left + n, left : left + n] = sprite(shape, n)
    return pressed


def _blurred(image: np.ndarray) -> np.ndarray:
    """Mean of each pixel and its neighbors above and below."""
    padded = np.pad(image, ((1, 1), (0, 0)))
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3
