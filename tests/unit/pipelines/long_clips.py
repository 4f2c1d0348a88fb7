"""Long clips of the toy world for tests of frame selectors."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vidweave.media.write import write_video
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyObject, ToyScene, sample_scene
from vidweave.toyworld.splits import scene_seeds
from vidweave.types import Clip

MODEL = "tiny-siglip"


@cache
def scene(number: int = 0) -> ToyScene:
    """A long scene of the test split: 300 frames at 8 per second, with visits of 6 frames."""
    return sample_scene(list(scene_seeds(3, number + 1))[number], length="long")


@cache
def clip(number: int = 0) -> Clip:
    return Clip(render(scene(number), "video"))


def question(visit: ToyObject) -> str:
    return f"What shape is the {visit.colour} object?"


def frames_of(visit: ToyObject, indices) -> int:
    """Number of the frames that show a visit."""
    return sum(visit.start_frame <= i < visit.end_frame for i in indices)


def write_long_clip(path: Path, number: int = 0, **options: str) -> Path:
    """The clip as a file, with a keyframe every 10 frames."""
    return write_video(
        path, render(scene(number), "video"), fps=8, options={"g": "10", "sc_threshold": "0", "crf": "12", **options}
    )
