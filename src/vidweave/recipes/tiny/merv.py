"""tiny-merv: three eyes that see different things behind one language model, and the rows that it is compared with.

    vidweave train tiny/merv part=eye-detail eye_steps=600 eye_batch=24 --out runs/merv/eye-detail
    vidweave train tiny/merv part=eye-tempo --out runs/merv/eye-tempo      (also eye-generalist, language)
    vidweave train tiny/merv part=attention parts=runs/merv --out runs/merv/attention     (and the other rows)

Parts that are made once and frozen: the eyes, on dense labels of what each patch shows; and a language model, tiny-llama
taught to read texture and speed. It is taught on the tokens of tiny-base, of which the first four tell one quarter of the
picture each, with one learned vector per texture and speed added: what a perfect mixture of eyes could say. Those vectors
stand beside it, and say to the connectors what to aim at.

A row is a connector of its own, trained as every other: the general eye's Q-Former is that of tiny-base and stays as it is,
its port and all of the other eyes learn, first to say what the language model was taught on, then to answer through it.

The shipped parts: eye-detail as above, eye-tempo with the defaults, eye-generalist with eye_steps=500 eye_batch=24
eye_learning_rate=2e-3, language in two runs (the second with start=, reading_steps=300), rows with aim_steps=300
question_steps=150 questions_per_clip=2. Each took 4 to 8 minutes of a shared core.
"""

from __future__ import annotations

from typing import Any

from vidweave.recipes.tiny.merv_parts.encoders import ENCODERS, encoder_run
from vidweave.recipes.tiny.merv_parts.language import language_run
from vidweave.recipes.tiny.merv_parts.rows import accuracy, row_run
from vidweave.recipes.tiny.merv_parts.settings import Settings
from vidweave.training.stages import Run

__all__ = ["Settings", "accuracy", "recipe"]


def recipe(**overrides: Any) -> Run:
    """The run of a part or row; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    runs = {**{f"eye-{name}": encoder_run for name in ENCODERS}, "language": language_run}
    return runs.get(s.part, row_run)(s)
