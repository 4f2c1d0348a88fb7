"""tiny-malmm: a memory over long clips, taught what came when, then to answer through a language model that stays as it is.

    vidweave train tiny/malmm --out runs/tiny-malmm
    vidweave train tiny/malmm --out runs/tiny-malmm-fifo row=fifo

The eye (tiny-rgb) and the language model (tiny-llama) are frozen. Clips are encoded once, each distinct picture once, and
since the way into the memory is frozen too (whitened features and a code of time), each clip's memory is filled once as
well: a training step costs no more than looking at a short clip. Stages:

1. the connector's tokens tell what came when and how often, and, the last one, the answer to a question;
2. what the frozen language model has to be told to say an answer is found without any clip: tokens that are always the
   same, and a last one for each answer (a minute; through the language model and the connector at once, the same was
   barely begun after 200 steps);
3. the connector learns to speak so: its last layer is set by least squares, then all of it goes on learning.

`row` is the policy of the memory (`systems.malmm.tiny.ROWS`): the rows of the claim, alike in everything else. `features`
names a folder in which several rows share the encoded clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidweave.encoders.tiny import WIDTH
from vidweave.errors import ConfigError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.bases import base_state
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.malmm_parts.memories import Memories, clip_features, remembered
from vidweave.recipes.tiny.malmm_parts.objectives import (
    AnswersFromConnector,
    AnswersFromTokens,
    LongRoot,
    VisitsFromConnector,
    collate_answers,
    collate_clips,
    collate_prompts,
    start_speaking,
)
from vidweave.systems.malmm.tiny import ROWS, tiny_malmm_row
from vidweave.tiny.asset_files import write_facts
from vidweave.tiny.long_clips import (
    LONG_FAMILIES,
    LongQuestions,
)
from vidweave.tiny.sources import MadeOnce
from vidweave.toyworld.questions import question
from vidweave.toyworld.scene import sample_scene
from vidweave.toyworld.splits import split_seed
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Clip, Query

__all__ = ["Settings", "accuracy", "new_model", "recipe"]

BASES = {"encoders.rgb": "tiny-rgb", "language_model": "tiny-llama"}


CONNECTOR = (
    "model.connector.trunks.*",
    "model.connector.ports.video.query_tokens",
    "model.connector.ports.video.output_proj.*",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults made the shipped models."""

    row: str = "memory"
    seed: int = 0
    clips: int = 2000
    visit_steps: int = 600
    telling_steps: int = 120
    answer_steps: int = 200
    batch: int = 48
    learning_rate: float = 2e-3
    evaluation_examples: int = 30
    features: str = ""


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    if s.row not in ROWS:
        raise ConfigError(f"row must be one of {', '.join(ROWS)}, got {s.row!r}")
    root = LongRoot(new_model(s.row))
    source = MadeOnce(partial(remembered, clips=s.clips, folder=s.features))
    cosine = Schedule("cosine", warmup_steps=100, min_lr_ratio=0.02)
    common = {
        "examples": source,
        "batch_size": s.batch,
        "passes": (Pass("connector", CONNECTOR),),
        "schedule": cosine,
        "precision": "bf16-mixed",
    }
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    stages = [
        Stage(
            name="visits",
            objective=VisitsFromConnector(),
            collate=partial(collate_clips, root.model, source),
            steps=s.visit_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=1,
            **{**common, "passes": (Pass("connector", (*CONNECTOR, "visit_heads.*")),)},
        ),
        Stage(
            name="telling",
            objective=AnswersFromTokens(),
            examples=LongQuestions(s.clips),
            collate=partial(collate_prompts, root.model),
            passes=(Pass("tokens", ("telling.*",)),),
            steps=s.telling_steps,
            batch_size=s.batch,
            optimizer=AdamWSettings(lr=0.1, weight_decay=0.0),
            schedule=replace(cosine, warmup_steps=0),
            share=0.2,
        ),
        Stage(
            name="answers",
            objective=AnswersFromConnector(),
            collate=partial(collate_answers, root.model, source),
            steps=s.answer_steps,
            optimizer=optimizer(lr=s.learning_rate / 2),
            share=0.5,
            **{**common, "examples": partial(start_speaking, source), "schedule": replace(cosine, warmup_steps=20)},
        ),
    ]
    name = "tiny-malmm" if s.row == "memory" else f"tiny-malmm-{s.row}"
    finish = partial(_finish, source=source, name=name, examples=s.evaluation_examples, settings=asdict(s))
    facts = {key: value for key, value in asdict(s).items() if key != "features"}
    return Run(name=name, model=root, stages=stages, seed=s.seed, finish=finish, config=facts)


def accuracy(root: LongRoot, examples: int) -> dict[str, float]:
    """Share of right answers per family of long questions, on scenes of the validation split, as a user would ask."""
    found: dict[str, float] = {}
    scenes = [sample_scene(split_seed("validation", i), length="long") for i in range(examples)]
    clips = [Clip(clip_features(root.model, scene)) for scene in scenes]
    for family in LONG_FAMILIES:
        rng = np.random.default_rng(5)
        asked = [(clip, q) for clip, scene in zip(clips, scenes, strict=True) if (q := question(scene, family, rng))]
        queries = [Query.about(clip, q.text, q.options) for clip, q in asked]
        answers = [
            a
            for i in range(0, len(queries), 25)
            for a in SlotPipeline(root.model).answer(queries[i : i + 25], trace=False)
        ]
        found[family] = sum(a.text == q.answer for a, (_, q) in zip(answers, asked, strict=True)) / max(1, len(asked))
    return found


@torch.no_grad()
def new_model(row: Any) -> VideoLanguageModel:
    """Frozen parts as they are shipped; a connector that has learnt nothing."""
    config = tiny_malmm_row(row)
    model = VideoLanguageModel(config)
    state = {
        key: t for root, name in BASES.items() for key, t in base_state(root, {"source": name}, model, Path()).items()
    }
    model.load_state_dict({key: t.float() for key, t in state.items()}, strict=False)
    model.tie_weights()
    folder = asset_folder(BASES["language_model"])
    assert folder is not None
    model.processor = Processor(config, {"language": load_tokenizer(folder)})
    # A Q-Former this narrow starts an order of magnitude too quietly by BERT's rule, which is made for 768.
    for module in model.connector.trunks.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=WIDTH**-0.5)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    port = model.connector.ports["video"]
    port.time_embedding.copy_(_time_code(*port.time_embedding.shape))
    return model


def _time_code(rows: int, width: int, strength: float = 0.35) -> Tensor:
    """(rows, width) waves of six lengths in directions of their own; `strength` is their norm beside that of normed
    features: enough to be read, too little to decide which neighbours are alike."""
    time = torch.arange(rows) / rows
    waves = [f(2 * torch.pi * k * time) for k in (0.25, 0.5, 1, 2, 4, 8) for f in (torch.sin, torch.cos)]
    code = torch.stack(waves, 1)
    directions, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(7)))
    code = code @ directions[: code.shape[1]]
    return strength * width**0.5 * code / code.norm(dim=1, keepdim=True).mean()


def _finish(
    root: LongRoot, out: Path, *, source: MadeOnce[Memories], name: str, examples: int, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write the connector beside the names of its bases."""
    source(root)  # a run that is resumed at its end has not whitened its features yet
    model = root.model.half().float().eval()  # as it will be read back
    figures = accuracy(root, examples)
    folder = out / "assets" / name
    model.half().save_pretrained(folder, bases=BASES)
    model.float()
    kept = {key: value for key, value in settings.items() if key != "features"}
    write_facts(folder / "asset.json", __file__, out, {**kept, "figures": figures})
    return figures
