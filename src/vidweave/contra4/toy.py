"""Contra4 in toyworld: scenes available in one modality each, captioned from that modality alone, with known labels."""

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
from vidweave.toyworld.splits import scene_seeds
from vidweave.types import Clip

__all__ = ["NUMBERS", "TOY_SOURCE", "ToyFacts", "ToyPools", "modality_caption", "toy_clip", "toy_facts"]

TOY_SOURCE = "toyworld"
NUMBERS = ("one", "two", "three", "four")

_ATTRIBUTES = {
    "video": lambda thing: thing.colour,
    "depth": lambda thing: thing.distance,
    "flow": lambda thing: f"{thing.spin}-turning",
    "thermal": lambda thing: thing.temperature,
    "normals": lambda thing: thing.relief,
    "touch": lambda thing: thing.firmness,
    "pc": lambda thing: thing.consistency,
}
"""Modality → attribute that it reveals besides shape. Audio reveals no shape, only count and pitch of beeps."""


@dataclass(frozen=True)
class ToyFacts:
    """Facts about a scene that its modality reveals: how many things or beeps, and which shapes."""

    count: int
    shapes: frozenset[str]


def modality_caption(scene: ToyScene, modality: str) -> str:
    """Describe a scene: ``two things, a red circle and a blue ring``, ``three low beeps``."""
    if modality == "audio":
        beeper = _beeper(scene)
        return f"{_number(len(beeper.beeps))} {beeper.pitch} beep{'s' * (len(beeper.beeps) > 1)}"
    if modality not in _ATTRIBUTES:
        raise ConfigError(
            f"toyworld has no captions for {modality!r}; use one of {', '.join(sorted({*_ATTRIBUTES, 'audio'}))}"
        )
    things = [f"a {_ATTRIBUTES[modality](thing)} {thing.shape}" for thing in scene.objects]
    listed = " and ".join([", ".join(things[:-1]), things[-1]] if things[1:] else things)
    return f"{_number(len(things))} thing{'s' * (len(things) > 1)}, {listed}"


def toy_facts(scene: SceneRef) -> ToyFacts:
    """Compute the facts of a scene from its seed, whatever its caption says."""
    made = _scene(scene)
    if scene.modality == "audio":
        return ToyFacts(len(_beeper(made).beeps), frozenset())
    return ToyFacts(len(made.objects), frozenset(thing.shape for thing in made.objects))


def toy_clip(scene: SceneRef) -> Clip:
    """Render the scene as a clip of its single modality."""
    sources: dict[str, Any] = {scene.clip_modality: render(_scene(scene), scene.clip_modality)}
    return Clip(**sources)


def _scene(scene: SceneRef) -> ToyScene:
    if not isinstance(scene.id, int) or scene.clip_modality not in RENDERERS:
        raise AnnotationError(f"{scene.modality} {scene.id!r} is not a toyworld scene; its id must be a seed")
    return sample_scene(scene.id)


def _beeper(scene: ToyScene) -> ToyObject:
    if scene.beeper is None:
        raise AnnotationError(f"nothing beeps in toy scene {scene.seed}")
    return scene.beeper


def _number(count: int) -> str:
    return NUMBERS[count - 1]


@dataclass(frozen=True, kw_only=True)
class ToyPools:
    """Settings of a first stage: captioned scenes of toyworld number `seed`, each in one modality.

    Attributes:
        seed: Number of the world; no two worlds share scenes, and none shares scenes with training.
        media: Modality → number of scenes.
    """

    name: ClassVar[str] = "pools"
    scope: ClassVar[str] = "file"
    seed: int
    media: Mapping[str, int] = field(default_factory=lambda: {"audio": 60, "video": 60, "depth": 60, "flow": 60})

    def run_all(self, rows: Iterable[Row] = ()) -> Iterator[Row]:
        seeds = iter(scene_seeds(self.seed, sum(self.media.values())))
        for modality, count in self.media.items():
            for _ in range(count):
                scene = sample_scene(next(seeds))
                yield {
                    "source": TOY_SOURCE,
                    "id": scene.seed,
                    "modality": modality,
                    "url": None,
                    "meta": {},
                    "caption": [modality_caption(scene, modality)],
                }

    def describe(self) -> dict[str, Any]:
        return described(self)
