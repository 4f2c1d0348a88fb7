"""MERV (full): captions first, with projectors, mixer and language model learning; then instructions, from where that ended.

    vidweave train merv/full start=FOLDER captions=align.json instructions=tune.json media=FOLDER --out runs/merv-full

Both stages train the same parameters, so the second begins with all that the first one learnt: the original's code restores
the projectors alone, and its published model cannot be made with it. `align_only` trains the connector in the first stage
and keeps the language model as it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vidweave.recipes.merv.start import finish, open_model, stage, talks
from vidweave.systems.merv.training import ALIGN, FINETUNE, FULL_ALIGN, StageSettings
from vidweave.training.stages import Run

__all__ = ["Settings", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are; the stages' numbers are the paper's, of which `steps` follows from the data."""

    start: str = ""
    captions: str = ""
    instructions: str = ""
    media: str = ""
    cache: str = ""
    seed: int = 7
    align_only: bool = False
    align: StageSettings = ALIGN
    full_align: StageSettings = FULL_ALIGN
    finetune: StageSettings = FINETUNE


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    model = open_model(s.start, s.cache, s.seed)
    captions = talks(s.captions, s.media)
    first = (
        stage("align", s.align, model, captions) if s.align_only else stage("full-align", s.full_align, model, captions)
    )
    second = stage("finetune", s.finetune, model, talks(s.instructions, s.media))
    return Run(name="merv-full", model=model, stages=[first, second], seed=s.seed, finish=finish, config=asdict(s))
