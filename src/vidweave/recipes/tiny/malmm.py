"""tiny-malmm: a memory over long clips, trained on the order of visits, then to answer through a frozen language model.

    vidweave train tiny/malmm --out runs/tiny-malmm
    vidweave train tiny/malmm --out runs/tiny-malmm-fifo row=fifo

The encoder (tiny-rgb) and the language model (tiny-llama) are frozen. Clips are encoded once, each distinct frame once, and
since the input of the memory is frozen too (whitened features and a time embedding), each clip's memory is also filled once:
a training step costs no more than encoding a short clip. Stages:

1. the connector's tokens are trained to encode order and counts of visits, and, the last one, the answer to a question;
2. the tokens that make the frozen language model give an answer are trained without any clip: tokens that are always the
   same, and a last one for each answer (a minute; through the language model and the connector at once, training had
   barely started after 200 steps);
3. the connector is trained to output these tokens: its last layer is fitted by least squares, then all of it is trained.

`row` is the policy of the memory (`systems.malmm.tiny.ROWS`): the variants of the claim, equal in everything else. `features`
names a folder in which several variants share the encoded clips.
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
from vidweave.recipes.tiny.malmm_parts.memories import Memories, build_memories, clip_features
from vidweave.recipes.tiny.malmm_parts.objectives import (
    AnswersFromConnector,
    AnswersFromTokens,
    LongRoot,
    VisitsFromConnector,
    collate_answers,
    collate_clips,
    collate_prompts,
    fit_output_layer,
)
from vidweave.systems.malmm.tiny import ROWS, tiny_malmm_row
from vidweave.tiny.asset_files import write_facts
from vidweave.tiny.long_clips import (
    LONG_QUESTION_TYPES,
    LongQuestions,
)
from vidweave.tiny.sources import SharedSource
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
    """Sizes and lengths; the defaults trained the shipped models."""

    row: str = "memory"
    seed: int = 0
    clips: int = 2000
    visit_steps: int = 600
    answer_token_steps: int = 120
    answer_steps: int = 200
    batch: int = 48
    learning_rate: float = 2e-3
    evaluation_examples: int = 30
    features: str = ""


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    if s.row not in ROWS:
        raise ConfigError(f"row must be one of {', '.join(ROWS)}, got {s.row!r}")
    root = LongRoot(new_model(s.row))
    source = SharedSource(partial(build_memories, clips=s.clips, folder=s.features))
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
            collate=partial(collate_clips, root.model.processor, source),
            steps=s.visit_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=1,
            **{**common, "passes": (Pass("connector", (*CONNECTOR, "visit_heads.*")),)},
        ),
        Stage(
            name="answer_tokens",
            objective=AnswersFromTokens(),
            examples=LongQuestions(s.clips),
            collate=partial(collate_prompts, root.model.processor),
            passes=(Pass("tokens", ("answer_tokens.*",)),),
            steps=s.answer_token_steps,
            batch_size=s.batch,
            optimizer=AdamWSettings(lr=0.1, weight_decay=0.0),
            schedule=replace(cosine, warmup_steps=0),
            share=0.2,
        ),
        Stage(
            name="answers",
            objective=AnswersFromConnector(),
            collate=partial(collate_answers, root.model.processor, source),
            steps=s.answer_steps,
            optimizer=optimizer(lr=s.learning_rate / 2),
            share=0.5,
            **{**common, "examples": partial(fit_output_layer, source), "schedule": replace(cosine, warmup_steps=20)},
        ),
    ]
    name = "tiny-malmm" if s.row == "memory" else f"tiny-malmm-{s.row}"
    finish = partial(_finish, source=source, name=name, examples=s.evaluation_examples, settings=asdict(s))
    facts = {key: value for key, value in asdict(s).items() if key != "features"}
    return Run(name=name, model=root, stages=stages, seed=s.seed, finish=finish, config=facts)


def accuracy(root: LongRoot, examples: int) -> dict[str, float]:
    """Accuracy per question type of long clips, on scenes of the validation split, through the pipeline."""
    shares: dict[str, float] = {}
    scenes = [sample_scene(split_seed("validation", i), length="long") for i in range(examples)]
    clips = [Clip(clip_features(root.model, scene)) for scene in scenes]
    for question_type in LONG_QUESTION_TYPES:
        rng = np.random.default_rng(5)
        items = [
            (clip, q) for clip, scene in zip(clips, scenes, strict=True) if (q := question(scene, question_type, rng))
        ]
        queries = [Query.about(clip, q.text, q.options) for clip, q in items]
        answers = [
            a
            for i in range(0, len(queries), 25)
            for a in SlotPipeline(root.model).answer(queries[i : i + 25], trace=False)
        ]
        shares[question_type] = sum(a.text == q.answer for a, (_, q) in zip(answers, items, strict=True)) / max(
            1, len(items)
        )
    return shares


@torch.no_grad()
def new_model(row: Any) -> VideoLanguageModel:
    """Build the model with the shipped frozen parts and an untrained connector."""
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
    # BERT's initialization suits a width of 768; for a Q-Former this narrow it is an order of magnitude too small.
    for module in model.connector.trunks.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=WIDTH**-0.5)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    port = model.connector.ports["video"]
    port.time_embedding.copy_(_time_code(*port.time_embedding.shape))
    return model


def _time_code(rows: int, width: int, strength: float = 0.35) -> Tensor:
    """Time embeddings (rows, width): waves of six periods in orthogonal directions; `strength` is their norm relative to
    normed features: enough to be read, too little to change which neighbors are similar."""
    time = torch.arange(rows) / rows
    waves = [f(2 * torch.pi * k * time) for k in (0.25, 0.5, 1, 2, 4, 8) for f in (torch.sin, torch.cos)]
    code = torch.stack(waves, 1)
    directions, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(7)))
    code = code @ directions[: code.shape[1]]
    return strength * width**0.5 * code / code.norm(dim=1, keepdim=True).mean()


def _finish(
    root: LongRoot, out: Path, *, source: SharedSource[Memories], name: str, examples: int, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write the connector with the names of its base models."""
    source(root)  # a run resumed at its end has not whitened its features yet
    model = root.model.half().float().eval()  # the precision of the saved weights
    figures = accuracy(root, examples)
    folder = out / "assets" / name
    model.half().save_pretrained(folder, bases=BASES)
    model.float()
    kept = {key: value for key, value in settings.items() if key != "features"}
    write_facts(folder / "asset.json", __file__, out, {**kept, "figures": figures})
    return figures
