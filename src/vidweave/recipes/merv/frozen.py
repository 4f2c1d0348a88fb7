"""MERV (frozen): one stage, which trains projectors, mixer and language model on instructions; encoders stay frozen.

    vidweave train merv/frozen start=FOLDER instructions=tune.json media=FOLDER --out runs/merv-frozen

`start` is a model folder with the encoders' and the language model's weights. Without one, a tiny model with random weights
is trained on the toy world: a test of the whole run in a minute.

The paper calls this recipe frozen because its first stage, which would train only the connector, is skipped: in the
remaining stage the original's code trains the language model too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from vidweave.recipes.merv.start import finish, open_pipeline, read_conversations, stage
from vidweave.systems.merv.training import FINETUNE, StageSettings
from vidweave.training.stages import Run

__all__ = ["Settings", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Files and folders; the stage's numbers are the paper's, and `steps` follows from the data.

    Attributes:
        workers: Spawned processes that prepare batches ahead; None: 2 on a machine with at least 4 CPU cores, else 0.
    """

    start: str = ""
    instructions: str = ""
    media: str = ""
    cache: str = ""
    seed: int = 7
    workers: int | None = None
    finetune: StageSettings = FINETUNE


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    pipe = open_pipeline(s.start, s.cache, s.seed)
    data = read_conversations(s.instructions, s.media)
    stages = [stage("finetune", s.finetune, pipe, data, s.workers)]
    return Run(
        name="merv-frozen", model=pipe.model, stages=stages, seed=s.seed, finish=partial(finish, pipe), config=asdict(s)
    )
