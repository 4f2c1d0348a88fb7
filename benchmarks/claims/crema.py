"""Claim `crema`: a further modality answers its own questions, adds no token, and preserves the other answers."""

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
from vidweave.toyworld.questions import QUESTION_TYPES, question_types
from vidweave.types import Clip, PrecomputedFeatures, Query

__all__ = ["crema", "encoded"]

MODEL = "tiny-crema"
LEAST = 0.95
LOSS = 0.02


def crema(seed: int, examples: int, *, progress: bool = True, model: Any = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per question type of short clips without a special encoder.

    A type that needs another modality than video is at chance with video alone, reaches 95% with its modality, and
    is at chance again if all other modalities stay and that one's tokens are zero, or another clip's. With all modalities
    together no type loses more than 2 points, neither to video alone nor to the needed modality.

    Every clip is encoded once for all rows. A missing modality adds exact zeros to the fusion, so omitting it
    equals zeroing its tokens.
    """
    if model is None:
        import vidweave

        model = vidweave.load(MODEL).model
    further = tuple(name for name in model.spec.connector_streams if name != "video")
    visual = list(question_types(needs={"video"}, scope="short", encoder="general"))
    others = [
        name
        for name, question_type in QUESTION_TYPES.items()
        if question_type.scope == "short" and question_type.needs & set(further)
    ]
    source = ToyQuestions(
        seed,
        examples,
        question_types=[*visual, *others],
        modalities=("video", *further),
        form=partial(encoded, model),
        kept=examples * len(QUESTION_TYPES),
    )
    items, pipe = Items(source.question_types, source.__getitem__), SlotPipeline(model)

    claim = Claim("crema", progress=progress)
    claim.answer("video only", pipe, items.changed(lambda e: _with(e, {"video"})))
    claim.answer("video + needed", pipe, items.only(others).changed(lambda e: _with(e, {"video", *e.needs})))
    claim.answer("all modalities", pipe, items)
    claim.answer("needed zeroed", pipe, items.only(others).changed(lambda e: _with(e, {"video", *further} - _own(e))))
    claim.answer("needed of another clip", pipe, _swapped(items.only(others), seed))
    claim.facts = _facts(model, further, items)

    claim.each_at_chance("video only", others)
    claim.each_at_least("video + needed", others, LEAST)
    claim.each_loses_at_most("all modalities", "video + needed", others, LOSS)
    claim.each_loses_at_most("all modalities", "video only", visual, LOSS)
    claim.each_at_chance("needed zeroed", others)
    claim.each_at_chance("needed of another clip", others)
    return claim


def _own(example: Example) -> set[str]:
    """Modalities that the question needs besides the video."""
    return set(example.needs) - {"video"}


def _with(example: Example, modalities: set[str]) -> Example:
    """Limit the clip of a question to some modalities."""
    (scene,) = example.query.scenes
    clip = Clip(**{name: scene.clip[name] for name in scene.clip if name in modalities})
    return replace(example, query=replace(example.query, scenes=(replace(scene, clip=clip),)))


def _swapped(items: Items, seed: int) -> Items:
    """Replace the needed modality of each item by that of another item of its type."""
    other = partners(items.question_types, seed)

    def make(index: int) -> Example:
        example, next_one = items[index], items[other[index]]
        (scene,), (there,) = example.query.scenes, next_one.query.scenes
        clip = Clip(**{n: (there if n in _own(example) else scene).clip[n] for n in scene.clip})
        return replace(example, query=replace(example.query, scenes=(replace(scene, clip=clip),)))

    return Items(items.question_types, make)


@torch.no_grad()
def encoded(model: Any, clip: Clip) -> Clip:
    """Encode a clip with the model's frozen encoders."""
    encoded_streams = {}
    for name, stream in model.processor(Query.about(clip, "What is there?")).streams.items():
        features = model.encode_stream(name, stream)
        encoded_streams[name] = PrecomputedFeatures(features.values[0].numpy(), features.seconds[0].numpy())
    return Clip(**encoded_streams)


def _facts(model: Any, further: tuple[str, ...], items: Items) -> dict[str, dict[str, Any]]:
    """Count, per number of modalities, the visual tokens of the language model, and the parameters trained for the last one."""
    from vidweave.model.growth import parameters_of

    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    facts = {}
    for count in range(len(further) + 1):
        has = {"video", *further[:count]}
        (answer,) = SlotPipeline(model).answer([_with(items[0], has).query])
        name = f"+ {further[count - 1]}" if count else "video"
        trained = sum(sizes[key] for key in parameters_of(model, further[count - 1])) if count else 0
        facts[name] = {
            "trained parameters": trained,
            "tokens": sum(n for b, n in answer.trace.tokens.items() if b != "text"),
        }
    return facts
