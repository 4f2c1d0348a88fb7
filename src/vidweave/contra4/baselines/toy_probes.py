"""Toy-world questions about several scenes as questions about one, in the words that tiny models have learnt."""

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
    """The family of questions whose answer about one scene decides.

    ``holds a ring?`` asks for a ring of each colour and the best counts; ``has exactly two`` and ``has the most`` ask how
    many things, or beeps, there are.

    Raises:
        QueryError: a question of another kind.
    """
    if found := _SHAPE.search(query.text):
        return [Probe(text=f"Can a {colour} {found[1]} be seen?", worth={"yes": 1.0, "no": 0.0}) for colour in COLOURS]
    counted = "beeps" if "audio" in scene.clip else "objects"
    text = f"How many {counted} are there?"
    if (found := _EXACTLY.search(query.text)) and found[1] in NUMBERS:
        return [Probe(text=text, worth={str(n): float(n == NUMBERS[found[1]]) for n in NUMBERS.values()})]
    if _MOST in query.text:
        return [Probe(text=text, worth={str(n): float(n) for n in NUMBERS.values()})]
    raise QueryError(f"{query.text!r} is none of the toy world's questions about several scenes")


def beside_grey_video(clip: Clip) -> Clip:
    """The clip, with a grey video of a short scene if it has none, for models to whom video is never missing."""
    if "video" in clip:
        return clip
    pictures = render(sample_scene(0), "video")
    assert isinstance(pictures, Frames), "videos of the toy world are pictures"
    grey = Frames(np.full_like(pictures.values, 127), pictures.pts_seconds, pictures.indices)
    return Clip(grey, **dict(clip))
