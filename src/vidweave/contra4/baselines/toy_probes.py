"""Toyworld questions about several scenes, as questions about one scene in the words tiny models are trained on."""

from __future__ import annotations

import re

import numpy as np

from vidweave.contra4.baselines.apart import Probe
from vidweave.errors import QueryError
from vidweave.toyworld.attributes import COLOURS
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.types import Clip, Frames, Query, Scene

__all__ = ["asks_toy_world", "beside_grey_video"]

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
_SHAPE, _EXACTLY, _MOST = re.compile(r"holds an? (\w+)\?"), re.compile(r"has exactly (\w+) of"), "has the most of"


def asks_toy_world(query: Query, scene: Scene) -> list[Probe]:
    """Return the probes whose answer about one scene decides the question.

    ``holds a ring?`` asks for a ring of each color, and the best counts; ``has exactly two`` and ``has the most`` ask
    for the number of things or beeps.

    Raises:
        QueryError: a question of another type.
    """
    if match := _SHAPE.search(query.text):
        return [Probe(text=f"Can a {colour} {match[1]} be seen?", worth={"yes": 1.0, "no": 0.0}) for colour in COLOURS]
    counted = "beeps" if "audio" in scene.clip else "objects"
    text = f"How many {counted} are there?"
    if (match := _EXACTLY.search(query.text)) and match[1] in NUMBERS:
        return [Probe(text=text, worth={str(n): float(n == NUMBERS[match[1]]) for n in NUMBERS.values()})]
    if _MOST in query.text:
        return [Probe(text=text, worth={str(n): float(n) for n in NUMBERS.values()})]
    raise QueryError(f"{query.text!r} is not a toyworld question about several scenes")


def beside_grey_video(clip: Clip) -> Clip:
    """Add a gray video of a short scene to a clip without video, for models that always need video."""
    if "video" in clip:
        return clip
    frames = render(sample_scene(0), "video")
    assert isinstance(frames, Frames), "toyworld videos are frames"
    grey = Frames(np.full_like(frames.values, 127), frames.pts_seconds, frames.indices)
    return Clip(grey, **dict(clip))
