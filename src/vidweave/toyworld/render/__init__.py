"""Renderers of a scene in each modality.

RGB is uint8; depth is in meters; flow is in pixels per frame from each frame to the next; normals are unit vectors;
thermal is in degrees Celsius; touch is in millimeters; audio is sampled at 16 kHz; points are in meters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vidweave.errors import UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render.audio import SAMPLE_RATE, render_audio
from vidweave.toyworld.render.maps import render_depth, render_flow, render_normals, render_thermal
from vidweave.toyworld.render.points import point_ids, render_points
from vidweave.toyworld.render.rgb import render_rgb
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
    "render_audio",
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
    "audio": render_audio,
    "point_cloud": render_points,
}
"""Modality → renderer; a question type is available if all modalities that it needs are here."""

_WHOLE = {"audio", "point_cloud"}  # rendered for the whole clip, independent of `frames`


def render(
    scene: ToyScene, modality: str, *, frames: Indices = None, size: int = a.WORLD_PX
) -> Frames | Waveform | PointCloud:
    """Render one modality of a scene: a `Waveform` for `audio`, a `PointCloud` for `point_cloud`, `Frames` otherwise.

    Args:
        scene: Scene to render.
        modality: A name of `RENDERERS`.
        frames: Frame indices (audio and points are always complete); None renders all of them.
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
