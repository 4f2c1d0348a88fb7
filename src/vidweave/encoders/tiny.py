"""Configuration of the shipped toyworld encoder, used by all tiny systems."""

from __future__ import annotations

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.types import VisualSpec

__all__ = ["PIXELS", "WIDTH", "encoder_config"]

WIDTH = 128
PIXELS = VisualSpec(height=48, width=48, mean=(0.35, 0.35, 0.35), std=(0.25, 0.25, 0.25))


def encoder_config() -> PatchEncoderConfig:
    """General vision encoder: 48 x 48 pixels → 36 tokens."""
    return PatchEncoderConfig(
        size=48, patch=8, width=WIDTH, layers=4, heads=4, chunk=1024, specs={"video": PIXELS, "image": PIXELS}
    )
