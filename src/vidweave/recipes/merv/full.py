"""MERV (full): captions first, training projectors, mixer and language model; then instructions, continuing from there.

    vidweave train merv/full start=FOLDER captions=align.json instructions=tune.json media=FOLDER --out runs/merv-full

Both stages train the same parameters, so the second starts from all weights of the first: the original's code restores
only the projectors, and cannot reproduce its published model. `align_only` trains only the connector in the first stage
and keeps the language model frozen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from vidweave.recipes.merv.start import finish, open_pipeline, read_conversations, stage
from vidweave.systems.merv.training import ALIGN, FINETUNE, FULL_ALIGN, StageSettings
from vidweave.training.stages import Run

__all__ = ["Settings", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Files and folders; the stages' numbers are the paper's, and `steps` follows from the data.

    Attributes:
        workers: Spawned processes that prepare batches ahead; None: 2 on a machine with at least 4 CPU cores, else 0.
    """

    start: str = ""
    captions: str = ""
    instructions: str = ""
    media: str = ""
    cache: str = ""
    seed: int = 7
    workers: int | None = None
    align_only: bool = False
    align: StageSettings = ALIGN
    full_align: StageSettings = FULL_ALIGN
    finetune: StageSettings = FINETUNE


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    pipe = open_pipeline(s.start, s.cache, s.seed)
    captions = read_conversations(s.captions, s.media)
    first = (
        stage("align", s.align, pipe, captions, s.workers)
        if s.align_only
        else stage("full-align", s.full_align, pipe, captions, s.workers)
    )
    second = stage("finetune", s.finetune, pipe, read_conversations(s.instructions, s.media), s.workers)
    return Run(
        name="merv-full",
        model=pipe.model,
        stages=[first, second],
        seed=s.seed,
        finish=partial(finish, pipe),
        config=asdict(s),
    )
