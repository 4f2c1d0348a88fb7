"""Renderer of RGB frames."""

# Axes: T frames, H height, W width

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.sprites import Indices, blit, grid, indices_of, pixels, sprite
from vidweave.toyworld.scene import ToyObject, ToyScene

__all__ = ["render_rgb"]


def render_rgb(scene: ToyScene, *, frames: Indices = None, size: int = a.WORLD_PX) -> np.ndarray:
    """Render (T, H, W, 3) uint8."""
    indices = indices_of(scene, frames)
    out = np.empty((len(indices), size, size, 3), np.uint8)
    out[:] = _background(scene.seed, size)
    for obj in scene.objects:
        mask, surface = sprite(obj.shape, pixels(obj, size)), _surface(obj, size)
        blit(out, obj, indices, mask, surface, size)
    return out


@lru_cache(maxsize=256)
def _pattern(texture: str, n: int, grain: int) -> np.ndarray:
    """Brightness (n, n, 1) float32 of a texture: fine marks `grain` pixels wide."""
    u, v = np.arange(n)[None, :] // grain % 2, np.arange(n)[:, None] // grain % 2
    dark = {"plain": 0 * u * v, "striped": u + 0 * v, "dotted": u * v, "checked": u ^ v}[texture]
    return (1.0 - 0.35 * dark[..., None]).astype(np.float32)


@lru_cache(maxsize=4096)
def _surface_of(colour: str, texture: str, n: int, grain: int) -> np.ndarray:
    return (np.array(a.COLOURS[colour], np.float32) * _pattern(texture, n, grain)).astype(np.uint8)


def _surface(obj: ToyObject, size: int) -> np.ndarray:
    """Surface (n, n, 3) uint8: the object's color with its texture."""
    return _surface_of(obj.colour, obj.texture, pixels(obj, size), max(1, round(2 * size / a.WORLD_PX)))


def _background(seed: int, size: int) -> np.ndarray:
    """Background (H, W, 3) uint8: a dark, slightly tinted gradient with static grain."""
    rng = np.random.default_rng([seed, 10])
    tint = rng.uniform(20, 60) + rng.uniform(-6, 6, 3)
    x, y = grid(size)
    slope = rng.uniform(-10, 10) * x + rng.uniform(-10, 10) * y
    grain = rng.integers(-4, 5, (size, size), dtype=np.int8)
    return np.clip((slope + grain)[..., None] + tint, 0, 255).astype(np.uint8)
