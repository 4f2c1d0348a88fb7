"""Renderer of audio: beeps."""

# Axes: S samples

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vidweave.toyworld import attributes as a
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Waveform

__all__ = ["SAMPLE_RATE", "render_audio"]

SAMPLE_RATE = 16_000
_BEEP_SECONDS = 0.12


def render_audio(scene: ToyScene) -> Waveform:
    """Render every beep of every object at its pitch, over faint noise, for the duration of the clip."""
    samples = np.random.default_rng([scene.seed, 12]).normal(0, 0.003, round(scene.duration_seconds * SAMPLE_RATE))
    for obj in scene.objects:
        tone = _tone(a.PITCHES[obj.pitch])
        for frame in obj.beeps:
            first = round(frame / scene.fps * SAMPLE_RATE)
            part = samples[first : first + len(tone)]
            part += tone[: len(part)]
    return Waveform(np.clip(samples, -1, 1).astype(np.float32), SAMPLE_RATE)


@lru_cache(maxsize=16)
def _tone(hertz: float) -> np.ndarray:
    """Beep (S,) with soft ends."""
    seconds = np.arange(round(_BEEP_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = np.sin(np.pi * seconds / _BEEP_SECONDS) ** 0.5
    return 0.4 * envelope * np.sin(2 * np.pi * hertz * seconds)
