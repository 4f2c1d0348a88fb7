"""Claim `malmm`: a memory that merges its most similar neighbors preserves the order of events in a long clip.

All rows have the same encoder, the same language model, the same number of tokens for it, and their own connector,
trained by the same recipe (`tiny/malmm`), steps, clips and seed. They differ in the policy of their memory:

- `memory` merges the most similar neighbors per token (the shipped tiny-malmm);
- `fifo` drops the oldest, with as many entries;
- `mean` keeps only the running mean;
- `concat` encodes 8 frames, evenly spread, side by side;
- `none` encodes only the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from benchmarks.claims.harness import Claim
from benchmarks.claims.items import another_clip, toy_items
from vidweave.types import Answer, Answerer, Clip, PrecomputedFeatures, Query

__all__ = ["ASSETS", "malmm"]

ASSETS = {
    "memory": "tiny-malmm",
    "fifo": "tiny-malmm-fifo",
    "mean": "tiny-malmm-mean",
    "concat": "tiny-malmm-concat",
    "none": "tiny-malmm-none",
}
QUESTION_TYPES = ("first", "order", "visits")
GAIN = 0.20


def malmm(seed: int, examples: int, *, progress: bool = True, models: Mapping[str, Answerer] | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per question type, on clips of 300 frames.

    Question types about order and count: the memory is at least 20 points above `fifo` and above `none` in each, and at
    chance with another clip. The running mean and the 8 frames side by side are printed unjudged.
    """
    models = _load() if models is None else models
    items = toy_items(seed, examples, QUESTION_TYPES)
    claim = Claim("malmm", progress=progress)
    for row, model in models.items():
        claim.answer(row, model, items)
    claim.answer("another clip", models["memory"], another_clip(items, seed))
    for other in ("fifo", "none"):
        claim.each_gains_at_least("memory", other, QUESTION_TYPES, GAIN)
    claim.each_at_chance("another clip", QUESTION_TYPES)
    return claim


@dataclass(frozen=True)
class Encoded:
    """Features (n, N, C) of a clip's distinct frames in half precision, the index of each frame among them (T,), and the
    frames' times (T, 2)."""

    features: np.ndarray
    where: np.ndarray
    seconds: np.ndarray

    @classmethod
    @torch.no_grad()
    def of(cls, pipe: Any, query: Query) -> Encoded:
        """Encode each distinct one of the frames that `pipe` would sample."""
        model, stream = pipe.model, pipe.processor(query).streams["video"]
        pixels = stream.values[0]  # (T, 1, 3, H, W)
        distinct, where = torch.unique(pixels.flatten(1), dim=0, return_inverse=True)
        encoder = model.encoders[model.spec.streams["video"].encoder]
        features = encoder.encode(distinct.view(1, -1, *pixels.shape[1:]), "video")[0]
        return cls(features.half().numpy(), where.numpy(), stream.seconds[0].numpy())

    def clip(self) -> Clip:
        return Clip(PrecomputedFeatures(self.features[self.where], self.seconds))


class EncodedOnce:
    """A model whose clips are encoded once for all rows with the same frames.

    Nearly all frames of a long clip show the same background, and five rows answer about each clip; a model's own
    `answer` would encode all of them each time, with the same result.
    """

    def __init__(self, pipe: Any, known: dict[Any, Encoded]) -> None:
        self.pipe, self.known = pipe, known

    def answer(self, queries: Sequence[Query], **arguments: Any) -> list[Answer]:
        return self.pipe.answer([self._encoded(query) for query in queries], **arguments)

    def describe(self) -> Mapping[str, Any]:
        return self.pipe.describe()

    def _encoded(self, query: Query) -> Query:
        frames = query.scenes[0].clip["video"].values
        key = (blake2b(frames.tobytes(), digest_size=16).digest(), self.pipe.model.spec.streams["video"].need)
        if key not in self.known:
            self.known[key] = Encoded.of(self.pipe, query)
        return Query.about(self.known[key].clip(), query.text, query.options)


def _load() -> dict[str, Answerer]:
    import vidweave
    from vidweave.model.assets import asset_folder

    known: dict[Any, Encoded] = {}
    return {row: EncodedOnce(vidweave.load(asset_folder(name) or name), known) for row, name in ASSETS.items()}
