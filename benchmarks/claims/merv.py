"""Claim `merv`: a model with three encoders of different strengths has the strengths of each, and no single encoder does.

All rows have the same language model, 16 tokens for it, and their own ports, mixer and special trunks, trained by the
same recipe (`tiny/merv`), steps, clips and seed:

- `general`, `detail`, `tempo`: one encoder alone; `generalist`: one as large as the three together, trained like the
  general one;
- `attention` (the shipped tiny-merv), `query_mlp`, `scalar`, `channel`, `channel_norm`: different ways of mixing all
  three; `sequence`: their tokens concatenated, three times as many.

Question types for any encoder are the general encoder's speciality, texture is that of detail, speed that of tempo.
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
from vidweave.toyworld.questions import question_types
from vidweave.types import Answer, Answerer, Query

__all__ = ["MIXTURE", "SINGLES", "SPECIALITIES", "WITHOUT", "merv"]

MIXTURE = "attention"
SINGLES = (*ENCODERS, "generalist")
SPECIALITIES = {name: f.speciality or "general" for name, f in question_types(needs={"video"}, scope="short").items()}
"""Question type → the encoder whose speciality it is."""
WITHOUT = {f"without {name}": name for name in ("detail", "tempo")}
"""Row of the mixture in which one encoder's tokens are zeros → that encoder."""
GAIN, LOSS = 0.10, 0.02


def merv(seed: int, examples: int, *, progress: bool = True, models: Mapping[str, Answerer] | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` items per question type.

    Over all items the mixture is at least 10 points above every single encoder; in every question type at most 2 below
    the encoder whose speciality it is; and a speciality is at chance if that encoder's tokens are zeros. Other ways of
    mixing are printed unjudged.
    """
    claim = Claim("merv", progress=progress)
    items = toy_items(seed, examples, list(SPECIALITIES))
    with TemporaryDirectory() as folder:
        for row in (*ROWS, *WITHOUT):
            claim.answer(row, _shipped(row, Path(folder)) if models is None else models[row], items)
    claim.facts = {row: _by_speciality(claim, row) for row in claim.rows}
    for single in SINGLES:
        claim.gains_at_least(MIXTURE, single, GAIN)
    for encoder in ENCODERS:
        claim.each_loses_at_most(MIXTURE, encoder, _question_types(encoder), LOSS)
    for row, encoder in WITHOUT.items():
        claim.each_at_chance(row, _question_types(encoder))
    return claim


def _question_types(encoder: str) -> list[str]:
    return [name for name, speciality in SPECIALITIES.items() if speciality == encoder]


def _by_speciality(claim: Claim, row: str) -> dict[str, str]:
    """Average the accuracy over the question types of each encoder, and over encoders, which weights specialities equally."""
    means = {
        name: fmean(fmean(claim.scores(row, question_type)) for question_type in _question_types(name))
        for name in ENCODERS
    }
    return {name: f"{mean:.1%}" for name, mean in {**means, "mean of the three": fmean(means.values())}.items()}


def _shipped(row: str, folder: Path) -> Answerer:
    """Load the model of a row; the features of an encoder are kept in `folder` for all rows that have it."""
    model = load_row(MIXTURE if row in WITHOUT else row)
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=folder)
    return Without(pipe, WITHOUT[row]) if row in WITHOUT else pipe


class Without:
    """A model in which the tokens of one stream are zeroed before they are mixed."""

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
