"""Blank media as a control, to measure how much of a model's score depends on the media."""

# Axes: T frames, H height, W width, K channels, S samples, P points

from __future__ import annotations

from typing import Any

import numpy as np

from vidweave.errors import ModalityError
from vidweave.media import open_clip
from vidweave.registry import CARRIERS
from vidweave.types import Clip, Frames, PointCloud, PrecomputedFeatures, Waveform

__all__ = ["blank_clip"]

RATE = 16_000
GRAY = 127


def blank_clip(clip: Clip) -> Clip:
    """Replace the media of a clip by blank media of the same modalities.

    Frames (T, H, W, K) become gray (8 bit) or zero, audio (S,) becomes silence, points (P, 3) are spread evenly on a
    sphere, features (T, N, C) become zero. Number, size and timestamps are kept.
    """
    blank: dict[str, Any] = {modality: _blank(clip, modality) for modality in clip}
    return Clip(**blank, **clip.settings)


def _blank(clip: Clip, modality: str) -> Any:
    with open_clip(clip, modality) as opened:
        if opened.carrier == "frames":
            return _gray(opened)
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
    raise ModalityError(f"there is no blank control for the modality {modality!r}")


def _gray(opened: Any) -> Frames:
    times, _ = opened.timeline()
    first = opened.read_frames([0]).values
    value = GRAY if first.dtype == np.uint8 else 0
    shape = (len(times), *first.shape[1:])
    return Frames(np.broadcast_to(first.dtype.type(value), shape), times, np.arange(len(times)))


def _sphere(cloud: PointCloud) -> PointCloud:
    """Place as many points on a unit sphere by the golden angle: constant points have no extent to normalize by."""
    count = len(cloud)
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    around = np.sqrt(1 - height**2)
    points = np.stack([around * np.cos(angle), around * np.sin(angle), height], axis=1)
    features = None if cloud.features is None else np.zeros_like(cloud.features)
    return PointCloud(points.astype(np.float32), features)
