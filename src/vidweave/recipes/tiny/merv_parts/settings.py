"""Settings shared by all parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidweave.tiny.asset_files import write_facts
from vidweave.toyworld.questions import question_types
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings

__all__ = ["COSINE", "RECIPE", "Settings", "asked_question_types", "optimizer", "write_part_facts"]

RECIPE = Path(__file__).parents[1] / "merv.py"  # the recipe named in assets
optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
COSINE = Schedule("cosine", warmup_steps=40, min_lr_ratio=0.02)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`part` is `encoder-` and the name of an encoder, `language`, or a row of `vidweave.systems.merv.tiny.ROWS`; `parts` is the
    folder of the parts; `start` is a folder of the part `language` to continue from, without the lesson."""

    part: str = "attention"
    start: str = ""
    parts: str = "runs/merv"
    seed: int = 0
    encoder_steps: int = 800
    encoder_batch: int = 64
    encoder_learning_rate: float = 3e-3
    lesson_steps: int = 400
    reading_steps: int = 300
    aim_steps: int = 300
    question_steps: int = 250
    clips: int = 2_500
    encoder_scenes: int = 6_000
    clips_per_step: int = 24
    questions_per_clip: int = 3
    evaluation_examples: int = 60
    figure_scenes: int = 256


def asked_question_types() -> list[str]:
    """List the question types that video alone answers in short clips, with any encoder or a special one."""
    return [*question_types(needs={"video"}, scope="short")]


def write_part_facts(file: Path, out: Path, settings: Mapping[str, Any], **more: Any) -> None:
    """Write the metadata of a part: its settings, and `more`."""
    kept = {key: value for key, value in settings.items() if key != "parts"}
    write_facts(file, RECIPE, out, {**kept, **more})
