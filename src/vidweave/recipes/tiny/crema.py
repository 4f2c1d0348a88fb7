"""tiny-crema: seven more senses for tiny-base, each by an adapter port of its own into the frozen Q-Former.

    vidweave train tiny/crema --out runs/tiny-crema

All encoders (the recipe `tiny/senses`) and the Q-Former stay frozen. A sense learns its port (input projection, norm, query
tokens, low-rank change of the Q-Former, output projection) and its matrix of the fusion, and no parameter belongs to two of
them. What a sense has to say is settled first: a vector for each fact (`FactVectors`), and the token of the video to which the
fusion adds it (`SENSE_SLOTS`). Stages:

`tell`: the language model learns to tell, object by object, what any set of senses says, from the video's tokens with their
facts added without a mistake; no sense has learnt anything yet. What it knew about clips it forgets meanwhile (it took longer
to keep it).
`ask`: it answers questions of all families. (Questions alone teach it two words a time: a lesson on two families took 200
steps, and every further pair as long; after 250 steps of telling, 100 of asking had five families of senses at 97% and more.)
`say`: the language model is frozen, and so are the codes. Each sense learns to say its facts, alone, from its own clips.
`answers`: the senses learn from the answers, any set of them together.

tiny-llama itself cannot be kept: it answers from fact sheets of other senses (0.8 to 0.9), but beside the tokens of a video it
reads nothing else, be it words or these tokens (at chance). The language model is therefore an asset of its own,
`tiny-crema-llama`: the paper's is large enough to be left alone.

Enough clips matter to the language model: after 1,000 steps on 1,500 clips its loss on questions was 0.012 there and 0.036 on new
ones, and which object is nearer was right in 92% on unseen scenes; 170 steps in which every clip was new brought 98%.

A port does not begin at random: it is the eye's, and its input projection is the linear map under which the sense's tokens
resemble what the eye sees at the same place, so that the frozen Q-Former finds its objects at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidweave.data.toyworld import ToyQuestions
from vidweave.evaluation.runner import right_by_family
from vidweave.model.growth import parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.crema_parts.beginning import BASES, beginning
from vidweave.recipes.tiny.crema_parts.clips import (
    HARD,
    Clips,
    collate,
    felt,
    seen,
    sense_families,
    video_families,
)
from vidweave.recipes.tiny.crema_parts.objectives import Answers, CremaRoot, Reads, Says, reading
from vidweave.systems.tiny.crema import SENSES
from vidweave.tiny.asset_files import write_facts, write_language_model, write_weights
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage

__all__ = ["Settings", "accuracy", "recipe"]

LANGUAGE = "tiny-crema-llama"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths. The shipped model was made by these stages in several sittings (see its `asset.json`); the defaults
    are what they came to together."""

    seed: int = 0
    rank: int = 8
    clips: int = 5_000
    felt_clips: int = 1_200
    clips_per_step: int = 24
    questions_per_clip: int = 3
    told_per_step: int = 32
    tell_steps: int = 260
    ask_steps: int = 1_000
    say_steps: int = 600
    answers_steps: int = 100
    learning_rate: float = 2e-3
    evaluation_examples: int = 20


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    model = beginning(s.rank)
    root = CremaRoot(model)
    looked, sensed = Clips(s.clips, seen), Clips(s.felt_clips, felt)
    own = tuple(f"model.{name}" for sense in SENSES for name in parameters_of(model, sense))
    everything = [*sense_families(), *video_families(), *HARD]
    common: dict[str, Any] = {"batch_size": s.clips_per_step, "collate": partial(collate, model, 3, 0.3)}
    common["schedule"] = Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02)
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    reads: dict[str, Any] = {
        **common,
        "objective": Reads(),
        "passes": (Pass("language model", ("model.language_model.*", "codes.*")),),
        "optimizer": optimizer(lr=s.learning_rate),
        "evaluate": partial(reading, clips=3 * s.evaluation_examples),
        "evaluate_every": 150,
    }
    says: dict[str, Any] = {**common, "passes": (Pass("senses", own),)}
    stages = [
        Stage(
            name="tell",
            examples=partial(looked, video_families(), 1),
            steps=s.tell_steps,
            share=2,
            **{
                **reads,
                "objective": Reads(("sheets",)),
                "collate": partial(collate, model, 1, 0.0),
                "batch_size": s.told_per_step,
                "schedule": Schedule("constant", warmup_steps=20),
            },
        ),
        Stage(
            name="ask", examples=partial(looked, everything, s.questions_per_clip), steps=s.ask_steps, share=2, **reads
        ),
        Stage(
            name="say",
            objective=Says(),
            examples=partial(sensed, everything, 1),
            steps=s.say_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=3,
            **says,
        ),
        Stage(
            name="answers",
            objective=Answers(),
            examples=partial(sensed, everything, s.questions_per_clip),
            steps=s.answers_steps,
            optimizer=optimizer(lr=0.3 * s.learning_rate),
            share=1,
            **says,
        ),
    ]
    return Run(
        name="tiny-crema",
        model=root,
        stages=stages,
        seed=s.seed,
        finish=partial(_finish, settings=asdict(s)),
        config=asdict(s),
    )


def accuracy(root: CremaRoot, *, examples: int, seed: int = 0) -> dict[str, float]:
    """Share of right answers per family of short clips with all senses at once, on scenes of the test split."""
    asked = ToyQuestions(seed, examples, families=[*video_families(), *sense_families()], modalities=("video", *SENSES))
    return right_by_family(SlotPipeline(root.model), asked)


def _finish(root: CremaRoot, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the assets: the language model, and ports and fusion beside the names of their bases."""
    assets = out / "assets"
    model = root.model.half().float().eval()  # as it will be read back
    figures = accuracy(root, examples=settings["evaluation_examples"], seed=1)
    write_language_model(assets / LANGUAGE, model.language_model, model.processor.tokenizers["language"])
    codes = {"vectors": root.codes.scale * root.codes.vectors}  # for whoever teaches another model to speak
    write_weights(assets / LANGUAGE / "codes.safetensors", codes)
    model.half().save_pretrained(assets / "tiny-crema", bases={**BASES, "language_model": LANGUAGE})
    model.float()
    for name, more in {LANGUAGE: {}, "tiny-crema": {"figures": figures}}.items():
        write_facts(assets / name / "asset.json", __file__, out, {**settings, **more})
    return figures
