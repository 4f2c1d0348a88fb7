"""Claim `crema`: a further sense answers its own questions, costs no token, and takes nothing from what was there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.claims.harness import Claim
from benchmarks.claims.items import Items, partners
from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions
from vidweave.pipelines.slot import SlotPipeline
from vidweave.toyworld.questions import FAMILIES, families
from vidweave.types import Clip, PrecomputedFeatures, Query

__all__ = ["crema", "encoded"]

MODEL = "tiny-crema"
LEAST = 0.95
LOSS = 0.02


def crema(seed: int, examples: int, *, progress: bool = True, model: Any = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per family of short clips without a special eye.

    A family that needs another sense than the eye is at chance with video alone, reaches 95% with the sense it needs, and
    is at chance again when all other senses stay and that one's tokens are zero, or another clip's. With all senses at
    once no family loses more than 2 points, neither to video alone (what the eye sees) nor to the needed sense.

    Every clip is encoded once for all rows. A sense that a clip has not adds exact zeros to the fusion, so leaving it out
    is zeroing its tokens.
    """
    if model is None:
        import vidweave

        model = vidweave.load(MODEL).model
    senses = tuple(name for name in model.spec.connector_streams if name != "video")
    seen = list(families(needs={"video"}, scope="short", encoder="general"))
    sensed = [name for name, family in FAMILIES.items() if family.scope == "short" and family.needs & set(senses)]
    made = ToyQuestions(
        seed,
        examples,
        families=[*seen, *sensed],
        modalities=("video", *senses),
        form=partial(encoded, model),
        kept=examples * len(FAMILIES),
    )
    items, pipe = Items(made.families, made.__getitem__), SlotPipeline(model)

    claim = Claim("crema", progress=progress)
    claim.answer("video only", pipe, items.changed(lambda e: _with(e, {"video"})))
    claim.answer("video + needed", pipe, items.only(sensed).changed(lambda e: _with(e, {"video", *e.needs})))
    claim.answer("all senses", pipe, items)
    claim.answer("needed zeroed", pipe, items.only(sensed).changed(lambda e: _with(e, {"video", *senses} - _own(e))))
    claim.answer("needed of another clip", pipe, _swapped(items.only(sensed), seed))
    claim.facts = _facts(model, senses, items)

    claim.each_at_chance("video only", sensed)
    claim.each_at_least("video + needed", sensed, LEAST)
    claim.each_loses_at_most("all senses", "video + needed", sensed, LOSS)
    claim.each_loses_at_most("all senses", "video only", seen, LOSS)
    claim.each_at_chance("needed zeroed", sensed)
    claim.each_at_chance("needed of another clip", sensed)
    return claim


def _own(example: Example) -> set[str]:
    """The senses that the question needs beside the eye."""
    return set(example.needs) - {"video"}


def _with(example: Example, modalities: set[str]) -> Example:
    """The same question with some of the clip's modalities."""
    (scene,) = example.query.scenes
    clip = Clip(**{name: scene.clip[name] for name in scene.clip if name in modalities})
    return replace(example, query=replace(example.query, scenes=(replace(scene, clip=clip),)))


def _swapped(items: Items, seed: int) -> Items:
    """Each item with the needed sense of another item of its family."""
    other = partners(items.families, seed)

    def make(index: int) -> Example:
        example, next_one = items[index], items[other[index]]
        (scene,), (there,) = example.query.scenes, next_one.query.scenes
        clip = Clip(**{n: (there if n in _own(example) else scene).clip[n] for n in scene.clip})
        return replace(example, query=replace(example.query, scenes=(replace(scene, clip=clip),)))

    return Items(items.families, make)


@torch.no_grad()
def encoded(model: Any, clip: Clip) -> Clip:
    """The clip as the model's frozen encoders see it."""
    found = {}
    for name, stream in model.processor(Query.about(clip, "What is there?")).streams.items():
        features = model.encode_stream(name, stream)
        found[name] = PrecomputedFeatures(features.values[0].numpy(), features.seconds[0].numpy())
    return Clip(**found)


def _facts(model: Any, senses: tuple[str, ...], items: Items) -> dict[str, dict[str, Any]]:
    """Per number of senses the tokens that the language model reads beside the question, and what the last one of them trains."""
    from vidweave.model.growth import parameters_of

    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    told = {}
    for count in range(len(senses) + 1):
        has = {"video", *senses[:count]}
        (answer,) = SlotPipeline(model).answer([_with(items[0], has).query])
        name = f"+ {senses[count - 1]}" if count else "video"
        trained = sum(sizes[key] for key in parameters_of(model, senses[count - 1])) if count else 0
        told[name] = {
            "trained parameters": trained,
            "tokens": sum(n for b, n in answer.trace.tokens.items() if b != "text"),
        }
    return told
