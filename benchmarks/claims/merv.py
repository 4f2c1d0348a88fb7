"""Claim `merv`: one model with three eyes that see different things knows what each of them sees, and no eye alone does.

All rows have the same language model, 16 tokens for it, and ports, mixer and special trunks of their own, trained by the
same recipe (`tiny/merv`), steps, clips and seed:

- `general`, `detail`, `tempo`: one eye alone; `generalist`: one as large as the three together, which has learnt what the
  general one has;
- `attention` (the shipped tiny-merv), `query_mlp`, `scalar`, `channel`, `channel_norm`: all three, mixed in so many ways;
  `sequence`: their tokens one after the other, three times as many.

Families that any eye may see are the general eye's speciality, texture is that of detail, speed that of tempo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.claims.harness import Claim
from benchmarks.claims.items import toy_items
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.merv.rows import load_row
from vidweave.systems.merv.tiny import ENCODERS, ROWS
from vidweave.toyworld.questions import families
from vidweave.types import Answer, Answerer, Query

__all__ = ["MIXTURE", "SINGLES", "SPECIALITIES", "WITHOUT", "merv"]

MIXTURE = "attention"
SINGLES = (*ENCODERS, "generalist")
SPECIALITIES = {name: f.speciality or "general" for name, f in families(needs={"video"}, scope="short").items()}
"""Family → the eye whose speciality it is."""
WITHOUT = {f"without {eye}": eye for eye in ("detail", "tempo")}
"""Row of the mixture in which one eye's tokens are zeros → that eye."""
GAIN, LOSS = 0.10, 0.02


def merv(seed: int, examples: int, *, progress: bool = True, models: Mapping[str, Answerer] | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per family.

    Over all items the mixture is at least 10 points above every single eye; in every family at most 2 below the eye
    whose speciality it is; and a speciality is at chance when that eye's tokens are zeros. Other ways of mixing are
    printed beside.
    """
    claim = Claim("merv", progress=progress)
    items = toy_items(seed, examples, list(SPECIALITIES))
    with TemporaryDirectory() as folder:
        for row in (*ROWS, *WITHOUT):
            claim.answer(row, _shipped(row, Path(folder)) if models is None else models[row], items)
    claim.facts = {row: _by_speciality(claim, row) for row in claim.rows}
    for single in SINGLES:
        claim.gains_at_least(MIXTURE, single, GAIN)
    for eye in ENCODERS:
        claim.each_loses_at_most(MIXTURE, eye, _families(eye), LOSS)
    for row, eye in WITHOUT.items():
        claim.each_at_chance(row, _families(eye))
    return claim


def _families(eye: str) -> list[str]:
    return [name for name, speciality in SPECIALITIES.items() if speciality == eye]


def _by_speciality(claim: Claim, row: str) -> dict[str, str]:
    """Mean accuracy in the families of each eye, and of these means: a speciality counts alike, however many families."""
    means = {eye: fmean(fmean(claim.scores(row, name)) for name in _families(eye)) for eye in ENCODERS}
    return {name: f"{mean:.1%}" for name, mean in {**means, "mean of the three": fmean(means.values())}.items()}


def _shipped(row: str, folder: Path) -> Answerer:
    """The model of a row; what an eye saw is kept in `folder` for all rows that have it."""
    model = load_row(MIXTURE if row in WITHOUT else row)
    model.encoders.requires_grad_(False)
    model.use_cache_folder(folder)
    pipe = SlotPipeline(model)
    return Without(pipe, WITHOUT[row]) if row in WITHOUT else pipe


class Without:
    """A model in which the tokens of one stream are zeros when they are mixed."""

    def __init__(self, pipe: Any, stream: str) -> None:
        self.pipe, self.stream = pipe, stream

    def answer(self, queries: Sequence[Query], **arguments: Any) -> list[Answer]:
        hook = self.pipe.model.connector.fusion.register_forward_pre_hook(self._blank)
        try:
            return self.pipe.answer(queries, **arguments)
        finally:
            hook.remove()

    def describe(self) -> dict[str, Any]:
        return self.pipe.describe()

    def _blank(self, _: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        (blocks,) = arguments
        block = blocks[self.stream]
        return ({**blocks, self.stream: replace(block, values=block.values * 0)},)
