"""Toy-world questions about several scenes as questions about one, in the words that tiny models have learnt."""

from __future__ import annotations

import re

from vidweave.contra4.baselines.apart import Probe
from vidweave.errors import QueryError
from vidweave.toyworld.attributes import COLOURS
from vidweave.types import Query, Scene

__all__ = ["asks_toy_world"]

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
