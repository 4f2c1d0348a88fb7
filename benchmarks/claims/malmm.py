"""Claim `malmm`: a memory whose most alike neighbours merge knows what came when in a long clip; others forget it.

All rows have the same eye, the same language model, the same number of tokens for it, and a connector of their own,
trained by the same recipe (`tiny/malmm`), steps, clips and seed. They differ in what their memory does:

- `memory` merges the most alike neighbours per token (the shipped tiny-malmm);
- `fifo` forgets the oldest, with as many entries;
- `mean` keeps the running mean alone;
- `concat` sees 8 pictures, evenly spread, side by side;
- `none` sees the last picture alone.
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
FAMILIES = ("first", "order", "visits")
GAIN = 0.20


def malmm(seed: int, examples: int, *, progress: bool = True, models: Mapping[str, Answerer] | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per family, on clips of 300 pictures.

    Families about order and count: the memory is at least 20 points above `fifo` and above `none` in each, and at chance
    with another clip. The running mean and the 8 pictures side by side are printed beside them.
    """
    models = _load() if models is None else models
    items = toy_items(seed, examples, FAMILIES)
    claim = Claim("malmm", progress=progress)
    for row, model in models.items():
        claim.answer(row, model, items)
    claim.answer("another clip", models["memory"], another_clip(items, seed))
    for other in ("fifo", "none"):
        claim.each_gains_at_least("memory", other, FAMILIES, GAIN)
    claim.each_at_chance("another clip", FAMILIES)
    return claim


@dataclass(frozen=True)
class Encoded:
    """Features (n, N, C) of a clip's distinct pictures in half precision, which of them each picture equals (T,), and the
    pictures' times (T, 2)."""

    features: np.ndarray
    where: np.ndarray
    seconds: np.ndarray

    @classmethod
    @torch.no_grad()
    def of(cls, pipe: Any, query: Query) -> Encoded:
        """The frames that `pipe` would sample, each distinct one encoded once."""
        model, stream = pipe.model, pipe.processor(query).streams["video"]
        pixels = stream.values[0]  # (T, 1, 3, H, W)
        distinct, where = torch.unique(pixels.flatten(1), dim=0, return_inverse=True)
        encoder = model.encoders[model.spec.streams["video"].encoder]
        features = encoder.encode(distinct.view(1, -1, *pixels.shape[1:]), "video")[0]
        return cls(features.half().numpy(), where.numpy(), stream.seconds[0].numpy())

    def clip(self) -> Clip:
        return Clip(PrecomputedFeatures(self.features[self.where], self.seconds))


class EncodedOnce:
    """A model whose clips are encoded once for all rows that look at the same pictures.

    Nearly all pictures of a long clip show the same background, and five rows are asked about each clip; a model's own
    `answer` would encode all of them each time, and say the same.
    """

    def __init__(self, pipe: Any, known: dict[Any, Encoded]) -> None:
        self.pipe, self.known = pipe, known

    def answer(self, queries: Sequence[Query], **arguments: Any) -> list[Answer]:
        return self.pipe.answer([self._encoded(query) for query in queries], **arguments)

    def describe(self) -> Mapping[str, Any]:
        return self.pipe.describe()

    def _encoded(self, query: Query) -> Query:
        pictures = query.scenes[0].clip["video"].values
        key = (blake2b(pictures.tobytes(), digest_size=16).digest(), self.pipe.model.spec.streams["video"].need)
        if key not in self.known:
            self.known[key] = Encoded.of(self.pipe, query)
        return Query.about(self.known[key].clip(), query.text, query.options)


def _load() -> dict[str, Answerer]:
    import vidweave
    from vidweave.model.assets import asset_folder

    known: dict[Any, Encoded] = {}
    return {row: EncodedOnce(vidweave.load(asset_folder(name) or name), known) for row, name in ASSETS.items()}
