"""Claim `base`: tiny-base answers from the visible content of a short clip, and from nothing else."""

from __future__ import annotations

from benchmarks.claims.harness import Claim
from benchmarks.claims.items import another_clip, no_clip, shuffled_options, toy_items
from vidweave.toyworld.questions import QUESTION_TYPES, question_types
from vidweave.types import Answerer

__all__ = ["base"]

MODEL = "tiny-base"
LEAST = 0.95
LOSS = 0.02


def base(seed: int, examples: int, *, progress: bool = True, model: Answerer | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per question type.

    Question types that need only video, in short clips, without a special encoder are judged: at least 95% on the right
    clip, at chance on another clip and on none, at most 2 points lost when the options are reordered. Types that need
    another modality, which the clips do not have, are at chance. Long clips and special encoders are printed unjudged.
    """
    if model is None:
        import vidweave

        model = vidweave.load(MODEL)
    judged = question_types(needs={"video"}, scope="short", encoder="general")
    items = toy_items(seed, examples)
    blind = [name for name in dict.fromkeys(items.question_types) if QUESTION_TYPES[name].needs != {"video"}]
    unjudged = tuple(name for name in dict.fromkeys(items.question_types) if name not in {*judged, *blind})

    claim = Claim("base", progress=progress, unjudged=unjudged)
    claim.answer("right clip", model, items)
    claim.answer("another clip", model, another_clip(items.only(judged), seed))
    claim.answer("no clip", model, no_clip(items.only(judged)))
    claim.answer("shuffled options", model, shuffled_options(items.only(judged), seed))

    claim.each_at_least("right clip", judged, LEAST)
    claim.each_at_chance("right clip", blind)
    claim.each_at_chance("another clip", judged)
    claim.each_at_chance("no clip", judged)
    claim.each_loses_at_most("shuffled options", "right clip", judged, LOSS)
    return claim
