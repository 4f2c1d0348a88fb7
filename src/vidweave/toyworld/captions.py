"""Text descriptions of scenes: captions, and fact sheets that contain every answer.

Language models are trained on fact sheets: a model that can read them can answer every question type. A sheet consists
of facts, each shown by one modality, so that it can be limited to the modalities of a model.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vidweave.toyworld.attributes import MODALITY_ATTRIBUTES
from vidweave.toyworld.scene import ToyObject, ToyScene

__all__ = ["caption", "description", "fact_sheet", "short_caption"]

_MOVES = {
    "left": "moves left",
    "right": "moves right",
    "up": "moves up",
    "down": "moves down",
    "still": "is still",
    "shake": "shakes",
    "bounce": "bounces",
    "loop": "loops",
}


def short_caption(scene: ToyScene) -> str:
    """List the objects: ``a red circle and a blue ring``."""
    return _list([f"a {o.colour} {o.shape}" for o in scene.objects])


def caption(scene: ToyScene) -> str:
    """Describe the visible content, one sentence per object: ``A big red striped circle moves left and vanishes.``"""
    return " ".join(_sentence(obj) for obj in scene.objects)


def description(scene: ToyScene) -> str:
    """Describe everything visible in a short clip, object by object from the top left to the bottom right.

    ``2 objects: at the top left a small red circle moves left; at the bottom right a big blue ring is still and vanishes.``
    """
    objects = sorted(scene.objects, key=lambda o: (o.centre[1] >= 24, o.centre[0] >= 24))
    return f"{_number(len(objects), 'object')}: " + "; ".join(_placed(o) for o in objects) + "."


def _placed(obj: ToyObject) -> str:
    down, across = _place(obj)
    phrase = f"a {obj.size} {obj.colour} {obj.shape} {_MOVES[obj.motion]}"
    also = {"appears": " and appears", "vanishes": " and vanishes"}.get(obj.change, "")
    return f"at the {down} {across.removesuffix(' side')} {phrase}{also}"


def fact_sheet(
    scene: ToyScene, *, rng: np.random.Generator | None = None, modalities: Iterable[str] | None = None
) -> str:
    """State all facts of a scene concisely, one clause per object.

    Args:
        scene: Scene to describe.
        rng: Shuffles the objects of a short clip; None keeps their order. The facts of an object keep their order, so
            that a reader of an attribute has already read which object it belongs to.
        modalities: Modalities whose facts are included; None includes all of them.
    """
    shown = None if modalities is None else set(modalities)
    objects = list(scene.objects)
    if rng is not None and scene.length == "short":
        objects = [objects[i] for i in rng.permutation(len(objects))]
    clauses = [_clause(scene, obj, shown) for obj in objects]
    if scene.length == "short" and _includes(shown, "audio") and scene.beeper is not None:
        clauses.append(_number(len(scene.beeper.beeps), f"{scene.beeper.pitch} beep"))
    if scene.length == "short" and _includes(shown, "video"):
        clauses.insert(0, _number(len(objects), "object"))
    return "; ".join(clauses) + "."


def _includes(shown: set[str] | None, modality: str) -> bool:
    return shown is None or modality in shown


def _clause(scene: ToyScene, obj: ToyObject, shown: set[str] | None) -> str:
    facts = [obj.shape]
    if _includes(shown, "video"):
        facts += [obj.colour, obj.size, obj.texture, _MOVES[obj.motion]]
        if scene.length == "short":
            facts += [obj.speed, obj.change, *_place(obj)]
    facts += [
        _spoken(name, getattr(obj, name))
        for modality, name in MODALITY_ATTRIBUTES.items()
        if _includes(shown, modality)
    ]
    return " ".join(facts)


def _spoken(attribute: str, value: str) -> str:
    return f"turns {value}" if attribute == "spin" else value


def _place(obj: ToyObject) -> tuple[str, str]:
    return "top" if obj.centre[1] < 24 else "bottom", "left side" if obj.centre[0] < 24 else "right side"


def _sentence(obj: ToyObject) -> str:
    also = {"appears": " and appears", "vanishes": " and vanishes", "stays": "", "visits": ""}[obj.change]
    texture = "" if obj.texture == "plain" else obj.texture + " "
    return f"A {obj.size} {obj.colour} {texture}{obj.shape} {_MOVES[obj.motion]}{also}."


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
