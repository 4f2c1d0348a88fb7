"""A scene through each sense, from the same truth.

RGB is uint8; depth is metres; flow is pixels per frame from each frame to the next; normals are unit vectors; thermal is
degrees Celsius; touch is millimetres; sound is 16 kHz; points are metres.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vidweave.errors import UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.maps import render_depth, render_flow, render_normals, render_thermal
from vidweave.toyworld.render.pictures import render_rgb
from vidweave.toyworld.render.points import point_ids, render_points
from vidweave.toyworld.render.sound import SAMPLE_RATE, render_sound
from vidweave.toyworld.render.sprites import Indices, indices_of, render_ids
from vidweave.toyworld.render.touch import render_touch, touch_ids, touched
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Frames, PointCloud, Waveform

__all__ = [
    "Indices",
    "RENDERERS",
    "SAMPLE_RATE",
    "point_ids",
    "render",
    "render_depth",
    "render_flow",
    "render_ids",
    "render_normals",
    "render_points",
    "render_rgb",
    "render_sound",
    "render_thermal",
    "render_touch",
    "touch_ids",
    "touched",
]

RENDERERS: dict[str, Callable[..., Any]] = {
    "video": render_rgb,
    "depth": render_depth,
    "normals": render_normals,
    "flow": render_flow,
    "thermal": render_thermal,
    "touch": render_touch,
    "audio": render_sound,
    "point_cloud": render_points,
}
"""Modality → renderer; a family of questions is available when all that it needs is here."""

_WHOLE = {"audio", "point_cloud"}  # of the whole clip, whatever frames are asked for


def render(
    scene: ToyScene, modality: str, *, frames: Indices = None, size: int = a.WORLD_PX
) -> Frames | Waveform | PointCloud:
    """One modality of a scene: a `Waveform` for `audio`, a `PointCloud` for `point_cloud`, `Frames` for all others.

    Args:
        scene: What to render.
        modality: A name of `RENDERERS`.
        frames: Which frames (sound and points are always whole); None is all of them.
        size: Width and height in pixels, at least 16.

    Raises:
        UnknownNameError: a modality without a renderer.
        ConfigError: frames outside the scene, or a size below 16.
    """
    if modality not in RENDERERS:
        raise UnknownNameError("toy world modality", modality, RENDERERS)
    if modality in _WHOLE:
        return RENDERERS[modality](scene)
    indices = indices_of(scene, frames)
    values = RENDERERS[modality](scene, frames=indices, size=size)
    return Frames(values if values.ndim == 4 else values[..., None], indices / scene.fps, indices)
