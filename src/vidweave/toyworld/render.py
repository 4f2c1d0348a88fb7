"""Pictures and sounds of a scene, each sense from the same truth.

RGB is uint8; depth is metres; flow is pixels per frame from each frame to the next; sound is 16 kHz.
"""

# Axes: T frames, H height, W width, S samples

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.scene import ToyObject, ToyScene
from vidweave.types import Frames, Waveform

__all__ = [
    "RENDERERS",
    "SAMPLE_RATE",
    "render",
    "render_depth",
    "render_flow",
    "render_ids",
    "render_rgb",
    "render_sound",
]

SAMPLE_RATE = 16_000
_BEEP_SECONDS = 0.12
_BACKGROUND_METRES = 10.0

Indices = Sequence[int] | np.ndarray | range | None


def render(scene: ToyScene, modality: str, *, frames: Indices = None, size: int = a.WORLD_PX) -> Frames | Waveform:
    """One modality of a scene: `Frames` for `video`, `depth` and `flow`, a `Waveform` for `audio`.

    Args:
        scene: What to render.
        modality: A name of `RENDERERS`.
        frames: Which frames (sound is always whole); None is all of them.
        size: Width and height in pixels, at least 16.

    Raises:
        UnknownNameError: a modality without a renderer.
        ConfigError: frames outside the scene, or a size below 16.
    """
    if modality not in RENDERERS:
        raise UnknownNameError("toy world modality", modality, RENDERERS)
    if modality == "audio":
        return render_sound(scene)
    indices = _indices(scene, frames)
    values = RENDERERS[modality](scene, frames=indices, size=size)
    return Frames(values if values.ndim == 4 else values[..., None], indices / scene.fps, indices)


def render_rgb(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    indices = _indices(scene, frames)
    out = np.empty((len(indices), size, size, 3), np.uint8)
    out[:] = _background(scene.seed, size)
    for obj in scene.objects:
        mask, surface = _sprite(obj.shape, _pixels(obj, size)), _surface(obj, size)
        _blit(out, obj, indices, mask, surface, size)
    return out


def render_ids(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """(T, H, W) int8: the position in `scene.objects` of what each pixel shows, -1 for the background."""
    indices = _indices(scene, frames)
    out = np.full((len(indices), size, size), -1, np.int8)
    for i, obj in enumerate(scene.objects):
        mask = _sprite(obj.shape, _pixels(obj, size))
        _blit(out, obj, indices, mask, np.full(mask.shape, i, np.int8), size)
    return out


def render_depth(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """(T, H, W) float32 in metres, with a centimetre of noise."""
    metres = np.array([o.distance_metres for o in scene.objects] + [_BACKGROUND_METRES], np.float32)
    depth = metres[render_ids(scene, frames=frames, size=size)]
    noise = np.random.default_rng([scene.seed, 11]).normal(0, 0.01, depth.shape[1:])
    return depth + noise.astype(np.float32)


def render_flow(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """(T, H, W, 2) float32: (right, down) pixels that what is seen moves until the next frame."""
    indices = _indices(scene, frames)
    ids = render_ids(scene, frames=indices, size=size)
    out = np.zeros((*ids.shape, 2), np.float32)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    scale = size / a.WORLD_PX
    for i, obj in enumerate(scene.objects):
        here = obj.positions(indices)
        move, centre = (obj.positions(indices + 1) - here) * scale, here * scale
        spin = a.SPINS[obj.spin]
        for t in np.flatnonzero(obj.is_there(indices)):
            seen = ids[t] == i
            right = move[t, 0] - spin * (rows[seen] + 0.5 - centre[t, 1])
            down = move[t, 1] + spin * (columns[seen] + 0.5 - centre[t, 0])
            out[t][seen] = np.stack([right, down], axis=-1)
    return out


def render_sound(scene: ToyScene) -> Waveform:
    """Every beep of every object at its pitch, over faint noise; as long as the clip."""
    samples = np.random.default_rng([scene.seed, 12]).normal(0, 0.003, round(scene.duration_seconds * SAMPLE_RATE))
    for obj in scene.objects:
        tone = _tone(a.PITCHES[obj.pitch])
        for frame in obj.beeps:
            first = round(frame / scene.fps * SAMPLE_RATE)
            part = samples[first : first + len(tone)]
            part += tone[: len(part)]
    return Waveform(np.clip(samples, -1, 1).astype(np.float32), SAMPLE_RATE)


RENDERERS: dict[str, Callable[..., Any]] = {
    "video": render_rgb,
    "depth": render_depth,
    "flow": render_flow,
    "audio": render_sound,
}
"""Modality → renderer; a family of questions is available when all that it needs is here."""


def _indices(scene: ToyScene, frames: Indices) -> np.ndarray:
    if frames is None:
        return np.arange(scene.num_frames)
    indices = np.asarray(frames, dtype=np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= scene.num_frames):
        raise ConfigError(
            f"the scene has frames 0 to {scene.num_frames - 1}, asked for {indices.min()} to {indices.max()}"
        )
    return indices


def _pixels(obj: ToyObject, size: int) -> int:
    if size < 16:
        raise ConfigError(f"pictures of the toy world need at least 16 pixels, got {size}")
    return max(3, round(obj.diameter * size / a.WORLD_PX))


def _blit(
    out: np.ndarray, obj: ToyObject, indices: np.ndarray, mask: np.ndarray, sprite: np.ndarray, size: int
) -> None:
    """Paint `sprite` where `mask` is, into every frame of `out` at which the object is there; cut at the border."""
    n = len(mask)
    corners = np.rint(obj.positions(indices) * (size / a.WORLD_PX) - n / 2).astype(int).tolist()
    mask = mask[..., None] if out.ndim == 4 else mask
    for t in np.flatnonzero(obj.is_there(indices)).tolist():
        x, y = corners[t]
        if 0 <= x <= size - n and 0 <= y <= size - n:
            np.copyto(out[t, y : y + n, x : x + n], sprite, where=mask)
            continue
        left, top, right, bottom = max(-x, 0), max(-y, 0), min(n, size - x), min(n, size - y)
        if left < right and top < bottom:
            part = (slice(top, bottom), slice(left, right))
            np.copyto(out[t, y + top : y + bottom, x + left : x + right], sprite[part], where=mask[part])


def _grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of pixel centres in -1..1."""
    line = (np.arange(n) + 0.5) / n * 2 - 1
    return line[None, :], line[:, None]


@lru_cache(maxsize=256)
def _sprite(shape: str, n: int) -> np.ndarray:
    """(n, n) bool: where the shape is."""
    x, y = _grid(n)
    radius = np.hypot(x, y)
    masks = {
        "circle": radius <= 1.0,
        "square": np.maximum(abs(x), abs(y)) <= 0.9,
        "triangle": abs(x) <= (y + 1) / 2,
        "cross": np.minimum(abs(x), abs(y)) <= 0.34,
        "ring": (radius <= 1.0) & (radius >= 0.52),
    }
    return masks[shape] & np.ones((n, n), bool)


@lru_cache(maxsize=256)
def _pattern(texture: str, n: int, grain: int) -> np.ndarray:
    """(n, n, 1) float32 brightness: fine marks `grain` pixels wide."""
    u, v = np.arange(n)[None, :] // grain % 2, np.arange(n)[:, None] // grain % 2
    dark = {"plain": 0 * u * v, "striped": u + 0 * v, "dotted": u * v, "checked": u ^ v}[texture]
    return (1.0 - 0.35 * dark[..., None]).astype(np.float32)


@lru_cache(maxsize=4096)
def _surface_of(colour: str, texture: str, n: int, grain: int) -> np.ndarray:
    return (np.array(a.COLOURS[colour], np.float32) * _pattern(texture, n, grain)).astype(np.uint8)


def _surface(obj: ToyObject, size: int) -> np.ndarray:
    """(n, n, 3) uint8: the object's colour under its texture."""
    return _surface_of(obj.colour, obj.texture, _pixels(obj, size), max(1, round(2 * size / a.WORLD_PX)))


def _background(seed: int, size: int) -> np.ndarray:
    """(H, W, 3) uint8: a dark, slightly tinted slope with still grain."""
    rng = np.random.default_rng([seed, 10])
    tint = rng.uniform(20, 60) + rng.uniform(-6, 6, 3)
    x, y = _grid(size)
    slope = rng.uniform(-10, 10) * x + rng.uniform(-10, 10) * y
    grain = rng.integers(-4, 5, (size, size), dtype=np.int8)
    return np.clip((slope + grain)[..., None] + tint, 0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _tone(hertz: float) -> np.ndarray:
    """(S,) a beep with soft ends."""
    seconds = np.arange(round(_BEEP_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = np.sin(np.pi * seconds / _BEEP_SECONDS) ** 0.5
    return 0.4 * envelope * np.sin(2 * np.pi * hertz * seconds)
