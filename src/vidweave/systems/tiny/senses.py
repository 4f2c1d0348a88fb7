"""The frozen encoders of the senses beside the eye: one for all that look like pictures, an ear, and one for points."""

from __future__ import annotations

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.pillars import PillarEncoderConfig
from vidweave.types import AudioSpec, ComponentConfig, PointSpec, VisualSpec

__all__ = ["SENSE_ENCODERS", "SENSE_WIDTH", "SOUND_PARTS", "sense_encoders"]

SENSE_WIDTH = 64
SOUND_PARTS = 8  # of a window of sound, in which its encoder's tokens are ordered

SENSE_ENCODERS = {
    "depth": "pictures",
    "normals": "pictures",
    "flow": "pictures",
    "thermal": "pictures",
    "touch": "pictures",
    "audio": "sound",
    "point_cloud": "points",
}
"""Sense → the encoder that it goes through."""

_RANGES = {
    "depth": (0.0, 12.0),  # metres
    "normals": (-1.0, 1.0),
    "flow": (-3.0, 3.0),  # pixels per frame
    "thermal": (0.0, 60.0),  # degrees Celsius
    "touch": (0.0, 1.2),  # millimetres
}


def sense_encoders() -> dict[str, ComponentConfig]:
    """Encoder name → configuration; together about half a million parameters."""
    size = {"width": SENSE_WIDTH, "layers": 3, "heads": 4, "chunk": 1024}
    sound = AudioSpec(sample_rate=16_000, window_seconds=2.0, mel_bins=24, frame_seconds=1 / 32, hop_seconds=1 / 32)
    return {
        "pictures": PatchEncoderConfig(size=48, patch=8, specs={m: _picture(m) for m in _RANGES}, **size),
        "sound": PatchEncoderConfig(size=(64, 24), patch=8, channels=1, specs={"audio": sound}, **size),
        "points": PillarEncoderConfig(
            extent_metres=1.2,
            depth_metres=0.45,
            pictures=PatchEncoderConfig(size=24, patch=4, channels=5, **size),
            specs={"point_cloud": PointSpec(num_points=768, normalize=False)},
        ),
    }


def _picture(modality: str) -> VisualSpec:
    half = (0.5, 0.5, 0.5)
    return VisualSpec(height=48, width=48, value_range=_RANGES[modality], mean=half, std=(0.25, 0.25, 0.25))
