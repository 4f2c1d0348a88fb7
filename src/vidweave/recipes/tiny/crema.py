"""tiny-crema: seven more modalities for tiny-base, each with its own adapter port for the frozen Q-Former.

    vidweave train tiny/crema --out runs/tiny-crema

All encoders (the recipe `tiny/modalities`) and the Q-Former stay frozen. A modality trains its port (input projection, norm, query
tokens, low-rank change of the Q-Former, output projection) and its matrix of the fusion, and no parameter is shared between
modalities. The representation of a modality's facts is fixed first: a vector for each fact (`FactVectors`), and the video token
to which the fusion adds it (`MODALITY_SLOTS`). Stages:

`sheets`: the language model is trained to state, object by object, the facts of any set of modalities, from the video's tokens
with the correct fact vectors added; no modality is trained yet. It forgets most of its knowledge about clips meanwhile (keeping
it took longer).
`questions`: it is trained to answer questions of all types. (Questions alone train it on two words at a time: a lesson on two
question types took 200 steps, and every further pair as long; after 250 steps on sheets, 100 on questions had five types of
further modalities at 97% and more.)
`vectors`: the language model and the fact vectors are frozen. Each modality is trained to output its vectors, from its own clips.
`answers`: the modalities are trained on the answers, in random subsets.

tiny-llama itself cannot be reused: it answers from fact sheets of other modalities (0.8 to 0.9), but beside the tokens of a video
it reads nothing else, neither words nor these tokens (chance accuracy). The language model is therefore a separate asset,
`tiny-crema-llama`: the paper's is large enough to stay frozen.

The number of clips matters for the language model: after 1,000 steps on 1,500 clips its loss on questions was 0.012 there and
0.036 on new ones, and which object is nearer was right in 92% on unseen scenes; 170 steps in which every clip was new brought 98%.

A port is not initialized at random: it is a copy of the video's, and its input projection is the linear map from the modality's
tokens to the video tokens at the same position, so that the frozen Q-Former finds its objects from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidweave.data.toyworld import ToyQuestions
from vidweave.evaluation.runner import accuracy_by_type
from vidweave.model.growth import parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.crema_parts.clips import (
    HARD,
    Clips,
    collate,
    load_all,
    load_video,
    modality_question_types,
    video_question_types,
)
from vidweave.recipes.tiny.crema_parts.initialization import BASES, initial_model
from vidweave.recipes.tiny.crema_parts.objectives import (
    AnswersWithVectors,
    CremaRoot,
    FactReading,
    VectorError,
    reading_accuracy,
)
from vidweave.systems.tiny.crema import MODALITIES
from vidweave.tiny.asset_files import write_facts, write_language_model, write_weights
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage

__all__ = ["Settings", "accuracy", "recipe"]

LANGUAGE = "tiny-crema-llama"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths. The shipped model was trained by these stages in several sessions (see its `asset.json`); the defaults
    are their sum."""

    seed: int = 0
    rank: int = 8
    clips: int = 5_000
    modality_clips: int = 1_200
    clips_per_step: int = 24
    questions_per_clip: int = 3
    sheets_per_step: int = 32
    sheet_steps: int = 260
    question_steps: int = 1_000
    vector_steps: int = 600
    answers_steps: int = 100
    learning_rate: float = 2e-3
    evaluation_examples: int = 20


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    model = initial_model(s.rank)
    root = CremaRoot(model)
    video_clips, all_clips = Clips(s.clips, load_video), Clips(s.modality_clips, load_all)
    own = tuple(f"model.{name}" for modality in MODALITIES for name in parameters_of(model, modality))
    everything = [*modality_question_types(), *video_question_types(), *HARD]
    common: dict[str, Any] = {"batch_size": s.clips_per_step, "collate": partial(collate, model.processor, 3, 0.3)}
    common["schedule"] = Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02)
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    language_stage: dict[str, Any] = {
        **common,
        "objective": FactReading(),
        "passes": (Pass("language model", ("model.language_model.*", "codes.*")),),
        "optimizer": optimizer(lr=s.learning_rate),
        "evaluate": partial(reading_accuracy, clips=3 * s.evaluation_examples),
        "evaluate_every": 150,
    }
    port_stage: dict[str, Any] = {**common, "passes": (Pass("modalities", own),)}
    stages = [
        Stage(
            name="sheets",
            examples=partial(video_clips, video_question_types(), 1),
            steps=s.sheet_steps,
            share=2,
            **{
                **language_stage,
                "objective": FactReading(("sheets",)),
                "collate": partial(collate, model.processor, 1, 0.0),
                "batch_size": s.sheets_per_step,
                "schedule": Schedule("constant", warmup_steps=20),
            },
        ),
        Stage(
            name="questions",
            examples=partial(video_clips, everything, s.questions_per_clip),
            steps=s.question_steps,
            share=2,
            **language_stage,
        ),
        Stage(
            name="vectors",
            objective=VectorError(),
            examples=partial(all_clips, everything, 1),
            steps=s.vector_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=3,
            **port_stage,
        ),
        Stage(
            name="answers",
            objective=AnswersWithVectors(),
            examples=partial(all_clips, everything, s.questions_per_clip),
            steps=s.answers_steps,
            optimizer=optimizer(lr=0.3 * s.learning_rate),
            share=1,
            **port_stage,
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
    """Accuracy per question type of short clips with all modalities at once, on scenes of the test split."""
    items = ToyQuestions(
        seed,
        examples,
        question_types=[*video_question_types(), *modality_question_types()],
        modalities=("video", *MODALITIES),
    )
    return accuracy_by_type(SlotPipeline(root.model), items)


def _finish(root: CremaRoot, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the assets: the language model, and ports and fusion with the names of their base models."""
    assets = out / "assets"
    model = root.model.half().float().eval()  # the precision of the saved weights
    figures = accuracy(root, examples=settings["evaluation_examples"], seed=1)
    write_language_model(assets / LANGUAGE, model.language_model, model.processor.tokenizers["language"])
    codes = {"vectors": root.codes.scale * root.codes.vectors}  # for training further modalities
    write_weights(assets / LANGUAGE / "codes.safetensors", codes)
    model.half().save_pretrained(assets / "tiny-crema", bases={**BASES, "language_model": LANGUAGE})
    model.float()
    for name, more in {LANGUAGE: {}, "tiny-crema": {"figures": figures}}.items():
        write_facts(assets / name / "asset.json", __file__, out, {**settings, **more})
    return figures
