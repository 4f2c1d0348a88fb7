"""Frozen encoders of the further modalities: one for all image-like ones, one for audio, and one for points."""

from __future__ import annotations

from collections.abc import Mapping

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.pillars import PillarEncoderConfig
from vidweave.types import AudioSpec, EncoderConfig, PointSpec, VisualSpec

__all__ = ["MODALITY_ENCODERS", "MODALITY_WIDTH", "modality_encoders"]

MODALITY_WIDTH = 64

MODALITY_ENCODERS = {
    "depth": "pictures",
    "normals": "pictures",
    "flow": "pictures",
    "thermal": "pictures",
    "touch": "pictures",
    "audio": "sound",
    "point_cloud": "points",
}
"""Modality → its encoder."""

_RANGES = {
    "depth": (0.0, 12.0),  # metres
    "normals": (-1.0, 1.0),
    "flow": (-3.0, 3.0),  # pixels per frame
    "thermal": (0.0, 60.0),  # degrees Celsius
    "touch": (0.0, 1.2),  # millimetres
}


def modality_encoders() -> dict[str, EncoderConfig]:
    """Build encoder name → configuration; together about 340,000 parameters."""
    audio = AudioSpec(sample_rate=16_000, window_seconds=2.0, mel_bins=8, frame_seconds=1 / 32, hop_seconds=1 / 32)
    cloud = PointSpec(num_points=768, normalize=False)
    pillars = _transformer(24, 4, channels=5)
    return {
        "pictures": _transformer(48, 8, specs={modality: _image_spec(modality) for modality in _RANGES}),
        "sound": _transformer((64, 8), 8, channels=1, specs={"audio": audio}),
        "points": PillarEncoderConfig(
            extent_metres=1.2, depth_metres=0.45, pictures=pillars, counts=True, specs={"point_cloud": cloud}
        ),
    }


def _transformer(
    size: int | tuple[int, int],
    patch: int,
    *,
    channels: int = 3,
    specs: Mapping[str, VisualSpec | AudioSpec] | None = None,
) -> PatchEncoderConfig:
    return PatchEncoderConfig(
        size=size,
        patch=patch,
        channels=channels,
        specs=dict(specs or {}),
        width=MODALITY_WIDTH,
        layers=2,
        heads=4,
        chunk=1024,
    )


def _image_spec(modality: str) -> VisualSpec:
    half = (0.5, 0.5, 0.5)
    return VisualSpec(height=48, width=48, value_range=_RANGES[modality], mean=half, std=(0.25, 0.25, 0.25))
