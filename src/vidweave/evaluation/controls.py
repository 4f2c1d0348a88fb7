"""What a model is shown instead of the media, to learn how much of its score they explain."""

# Axes: T pictures, H height, W width, K channels, S samples, P points

from __future__ import annotations

from typing import Any

import numpy as np

from vidweave.errors import ModalityError
from vidweave.media import open_clip
from vidweave.registry import CARRIERS
from vidweave.types import Clip, Frames, PointCloud, PrecomputedFeatures, Waveform

__all__ = ["blank_clip"]

RATE = 16_000
GREY = 127


def blank_clip(clip: Clip) -> Clip:
    """A clip of the same modalities that shows nothing.

    Pictures (T, H, W, K) become grey (8 bit) or zero, sound (S,) becomes silence, points (P, 3) lie evenly on a sphere,
    features (T, N, C) become zero. Number, size and times stay, so that a model meets nothing unheard of.
    """
    blank: dict[str, Any] = {modality: _blank(clip, modality) for modality in clip}
    return Clip(**blank, **clip.settings)


def _blank(clip: Clip, modality: str) -> Any:
    with open_clip(clip, modality) as opened:
        if opened.carrier == "frames":
            return _grey(opened)
        if opened.carrier == "waveform":
            wave = opened.read_waveform(RATE)
            return Waveform(np.zeros_like(wave.samples), wave.sample_rate, wave.start_seconds)
        if opened.carrier == "points":
            return _sphere(opened.read_points())
        if opened.carrier == "features":
            features = opened.read_features()
            return PrecomputedFeatures(np.zeros_like(features.values), features.seconds, features.info)
        if opened.carrier in CARRIERS:
            return opened.read_carrier().blank()
    raise ModalityError(f"nothing is known that shows nothing of the modality {modality!r}")


def _grey(opened: Any) -> Frames:
    times, _ = opened.timeline()
    first = opened.read_frames([0]).values
    value = GREY if first.dtype == np.uint8 else 0
    shape = (len(times), *first.shape[1:])
    return Frames(np.broadcast_to(first.dtype.type(value), shape), times, np.arange(len(times)))


def _sphere(cloud: PointCloud) -> PointCloud:
    """As many points, on a unit sphere by the golden angle: constant points would have no extent to normalise by."""
    count = len(cloud)
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    around = np.sqrt(1 - height**2)
    points = np.stack([around * np.cos(angle), around * np.sin(angle), height], axis=1)
    features = None if cloud.features is None else np.zeros_like(cloud.features)
    return PointCloud(points.astype(np.float32), features)
