"""tiny-videotgb: a small bridge that reads motion before tiny-base's encoder, Q-Former and Llama."""

from __future__ import annotations

from typing import Literal

from vidweave.connectors.tiny import connector_config
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.tiny import encoder_config
from vidweave.language.tiny import VOCAB_SIZE, layout, llama_config
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.types import FrameNeed, MotionSpec, TextSpec

__all__ = ["GRID", "MOTION_FPS", "MotionSource", "tiny_videotgb"]

MotionSource = Literal["motion_vectors", "frame_differences", "flow"]
GRID = 12  # cells along a side of a motion map
MOTION_FPS = 8.0


def tiny_videotgb(
    source: MotionSource = "motion_vectors", *, num_frames: int = 4, rope: Literal["sinusoid", "stored"] = "sinusoid"
) -> VideoLanguageConfig:
    """Build the shipped model, or a variant for comparison.

    Args:
        source: Motion source of the bridge; `flow` is given with the clip.
        num_frames: Number k of frames for the answer.
        rope: `stored` initializes the rotary tables at random, as the original did by accident; for comparison only.
    """
    modality = "flow" if source == "flow" else "video"
    motion = MotionEncoderConfig(
        height=GRID,
        width=GRID,
        patch=GRID,  # one vector per map, which keeps the positions of motion
        specs={modality: MotionSpec(source=source, fps=MOTION_FPS, height=GRID, width=GRID)},
    )
    spec = ModelSpec(
        selector=GroundingSelectorConfig(
            hidden=64,
            layers=3,
            fusion_layer=0,
            heads=4,
            intermediate=128,
            vocab_size=VOCAB_SIZE,
            max_positions=2_048,
            dropout=0.0,
            motion_width=motion.motion_width,
            num_patches=motion.num_patches,
            rope=rope,
            window=8,
            text_spec=TextSpec(tokenizer="language", max_tokens=64),
            num_spans=1,
            max_steps=16,
        ),
        encoders={"motion": motion, "rgb": encoder_config()},
        streams={
            "video": StreamConfig(encoder="rgb", modalities=("video",), need=FrameNeed(num_frames=num_frames)),
            "motion": StreamConfig(encoder="motion", modalities=(modality,), role="selector"),
        },
        connector=connector_config(),
        language_model=llama_config(),
        layout=layout(),
        decoding={"max_new_tokens": 80},
    )
    return VideoLanguageConfig(spec, name="tiny-videotgb")
