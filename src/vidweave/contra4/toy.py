"""Contra4 in the toy world: scenes known through one sense each, told in words by that sense alone, with known truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from vidweave.contra4.rows import Row
from vidweave.contra4.schema import SceneRef
from vidweave.contra4.stage import described
from vidweave.errors import AnnotationError, ConfigError
from vidweave.toyworld.render import RENDERERS, render
from vidweave.toyworld.scene import ToyObject, ToyScene, sample_scene
from vidweave.toyworld.splits import world_seeds
from vidweave.types import Clip

__all__ = ["NUMBERS", "TOY_SOURCE", "ToyFacts", "ToyPools", "sense_caption", "toy_clip", "toy_facts"]

TOY_SOURCE = "toyworld"
NUMBERS = ("one", "two", "three", "four")

_TOLD = {
    "video": lambda thing: thing.colour,
    "depth": lambda thing: thing.distance,
    "flow": lambda thing: f"{thing.spin}-turning",
    "thermal": lambda thing: thing.temperature,
    "normals": lambda thing: thing.relief,
    "touch": lambda thing: thing.firmness,
    "pc": lambda thing: thing.consistency,
}
"""Sense → what it tells of a thing besides its shape. Sound tells no shape: only how often which pitch beeps."""


@dataclass(frozen=True)
class ToyFacts:
    """What is true of a scene as far as its sense can tell: how many (things, or beeps), and which shapes."""

    count: int
    shapes: frozenset[str]


def sense_caption(scene: ToyScene, modality: str) -> str:
    """``two things, a red circle and a blue ring``, ``three low beeps``."""
    if modality == "audio":
        beeper = _beeper(scene)
        return f"{_number(len(beeper.beeps))} {beeper.pitch} beep{'s' * (len(beeper.beeps) > 1)}"
    if modality not in _TOLD:
        raise ConfigError(f"the toy world has no words for {modality!r}; it has {', '.join(sorted({*_TOLD, 'audio'}))}")
    things = [f"a {_TOLD[modality](thing)} {thing.shape}" for thing in scene.objects]
    listed = " and ".join([", ".join(things[:-1]), things[-1]] if things[1:] else things)
    return f"{_number(len(things))} thing{'s' * (len(things) > 1)}, {listed}"


def toy_facts(scene: SceneRef) -> ToyFacts:
    """The truth of a scene, from its seed, whatever its caption says."""
    made = _scene(scene)
    if scene.modality == "audio":
        return ToyFacts(len(_beeper(made).beeps), frozenset())
    return ToyFacts(len(made.objects), frozenset(thing.shape for thing in made.objects))


def toy_clip(scene: SceneRef) -> Clip:
    """The scene drawn, as a clip of its one sense."""
    sources: dict[str, Any] = {scene.clip_modality: render(_scene(scene), scene.clip_modality)}
    return Clip(**sources)


def _scene(scene: SceneRef) -> ToyScene:
    if not isinstance(scene.id, int) or scene.clip_modality not in RENDERERS:
        raise AnnotationError(f"{scene.modality} {scene.id!r} is no scene of the toy world; ids are its seeds")
    return sample_scene(scene.id)


def _beeper(scene: ToyScene) -> ToyObject:
    if scene.beeper is None:
        raise AnnotationError(f"nothing beeps in toy scene {scene.seed}")
    return scene.beeper


def _number(count: int) -> str:
    return NUMBERS[count - 1]


@dataclass(frozen=True, kw_only=True)
class ToyPools:
    """Settings of a first stage: captioned scenes of world number `seed`, no scene through two senses.

    Attributes:
        seed: Which world; two worlds share no scene, and none shares one with training.
        media: Modality → how many scenes are known through it.
    """

    name: ClassVar[str] = "pools"
    scope: ClassVar[str] = "file"
    seed: int
    media: Mapping[str, int] = field(default_factory=lambda: {"audio": 60, "video": 60, "depth": 60, "flow": 60})

    def run_all(self, rows: Iterable[Row] = ()) -> Iterator[Row]:
        seeds = iter(world_seeds(self.seed, sum(self.media.values())))
        for modality, count in self.media.items():
            for _ in range(count):
                scene = sample_scene(next(seeds))
                yield {
                    "source": TOY_SOURCE,
                    "id": scene.seed,
                    "modality": modality,
                    "url": None,
                    "meta": {},
                    "caption": [sense_caption(scene, modality)],
                }

    def describe(self) -> dict[str, Any]:
        return described(self)
