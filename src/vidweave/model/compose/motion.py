"""What a selector that watches motion needs beside it: a stream of motion, and the question's tokenizer."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import ConfigError
from vidweave.model.compose.parts import LanguagePart
from vidweave.model.config import StreamConfig
from vidweave.registry import SELECTORS
from vidweave.types import FrameNeed, MotionSpec, TextSpec

__all__ = ["MOTION", "selector_and_motion"]

MOTION = "motion"
# As VideoTGB watches it (arXiv 2402.16050): motion vectors of the codec, two maps a second, at most 64
FPS, MAPS, SIDE, PATCH = 2.0, 64, 224, 16
QUESTION_TOKENS = 128


def selector_and_motion(
    selector: Any, language: LanguagePart
) -> tuple[Any, dict[str, MotionEncoderConfig], dict[str, StreamConfig]]:
    """The selector's configuration, and encoder and stream of the motion if it watches any.

    A selector that reads the question reads it with the language model's tokenizer.

    Raises:
        ConfigError: neither a name of `registry.SELECTORS` nor a selector's configuration.
    """
    if not isinstance(selector, str) and not is_dataclass(selector):
        raise ConfigError(f"selector must be a name or a selector's configuration, got {selector!r}")
    cls: Any = SELECTORS.get(selector) if isinstance(selector, str) else type(selector)
    watches = {"motion_width", "min_gap_seconds"} & {f.name for f in fields(cls)}
    if not watches:
        return (cls() if isinstance(selector, str) else selector), {}, {}
    motion = _motion_encoder("motion_width" in watches)
    if isinstance(selector, str):
        selector = cls(**_bridge(motion, language)) if "motion_width" in watches else cls()
    stream = StreamConfig(encoder=MOTION, modalities=("video", "image"), need=FrameNeed(), role="selector")
    return selector, {MOTION: motion}, {MOTION: stream}


def _motion_encoder(is_bridge: bool) -> MotionEncoderConfig:
    spec = MotionSpec(
        source="motion_vectors",
        fps=FPS,
        height=SIDE,
        width=SIDE,
        normalize="clip_max" if is_bridge else "none",
        max_maps=MAPS,
    )
    specs = {"video": spec, "image": spec}
    pooling = {"pooling": "weighted"} if is_bridge else {}
    return MotionEncoderConfig(height=SIDE, width=SIDE, patch=PATCH, specs=specs, **pooling)  # type: ignore[arg-type]


def _bridge(motion: MotionEncoderConfig, language: LanguagePart) -> dict[str, Any]:
    """A bridge for any length of video, with relative positions."""
    return {
        "vocab_size": len(language.tokenizer),
        "motion_width": motion.motion_width,
        "num_patches": motion.num_patches,
        "rope": "sinusoid",
        "position": "rope",
        "cross_position": "words",
        "text_spec": TextSpec(tokenizer="language", max_tokens=QUESTION_TOKENS),
    }
