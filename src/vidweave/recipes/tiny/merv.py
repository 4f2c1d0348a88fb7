"""tiny-merv: three encoders with different strengths before one language model, and the variants that it is compared with.

    vidweave train tiny/merv part=encoder-detail encoder_steps=600 encoder_batch=24 --out runs/merv/encoder-detail
    vidweave train tiny/merv part=encoder-tempo --out runs/merv/encoder-tempo      (also encoder-generalist, language)
    vidweave train tiny/merv part=attention parts=runs/merv --out runs/merv/attention     (and the other rows)

Parts that are trained once and frozen: the encoders, on dense labels of the content of each patch; and a language model,
tiny-llama trained to read texture and speed. It is trained on the tokens of tiny-base, of which the first four encode one
quarter of the frame each, with one trainable vector per texture and speed added: the output of a perfect mixture of encoders.
Those vectors are stored beside it, as targets of the connectors.

A row is a variant of the connector, all trained in the same way: the general encoder's Q-Former is that of tiny-base and is
frozen, its port and all of the other encoders' modules are trained, first on the language model's inputs, then on its answers.

The shipped parts: encoder-detail as above, encoder-tempo with the defaults, encoder-generalist with encoder_steps=500
encoder_batch=24 encoder_learning_rate=2e-3, language in two runs (the second with start=, reading_steps=300), rows with
aim_steps=300 question_steps=150 questions_per_clip=2. Each took 4 to 8 minutes of a shared core.
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
    """Build the run of a part or row; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    runs = {**{f"encoder-{name}": encoder_run for name in ENCODERS}, "language": language_run}
    return runs.get(s.part, row_run)(s)
