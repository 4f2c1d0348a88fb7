"""tiny-videotgb: a bridge that finds the event of a question from motion, trained without temporal labels.

    vidweave train tiny/videotgb --out runs/tiny-videotgb

Bootstrapping as in the paper: tiny-base scores single frames of long clips by the probability of the right answer; the
largest rectangle under its scores is the span. The bridge is trained on those spans (stage `bridge`, the paper's TG). Two rules
make them cleaner: a label counts only if most of the mass of its scores lies in the span, and only questions about the color of
an event are labeled (two events of a clip may share their shape; measured on 600 labels each, 90% of colors' spans and 51% of
shapes' touched the event, and of colors with a share of 0.6 and more 96%). The spans serve the question about the shape too.

Then tiny-base's connector is trained to answer about long clips from few frames (stage `answers`, the paper's IV): encoder and
Llama are frozen, and frames come from the same spans, from even positions, from random ones and from motion peaks in equal
shares, so that no selector is favored. With `answer_steps=0` it remains tiny-base's, which is enough to compare bridges.

Training clips have 75 frames, a quarter of those of the claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import vidweave
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.recipes.tiny.videotgb_parts.clips import QUESTION_TYPES, LabeledQuestions, encode_video, labeled_clips
from vidweave.recipes.tiny.videotgb_parts.stages import (
    AnswersFromFewFrames,
    SpanFromMotion,
    collate_frames,
    collate_motion,
)
from vidweave.systems.videotgb.tiny import MotionSource, tiny_videotgb
from vidweave.tiny.asset_files import write_facts
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Clip, Query

__all__ = ["Settings", "hits", "recipe"]

NAME, BASE = "tiny-videotgb", "tiny-base"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults trained the shipped model.

    `labels`: the file of pseudo labels, created if missing; runs with other seeds may share it.
    """

    seed: int = 0
    source: MotionSource = "motion_vectors"
    rope: Literal["sinusoid", "stored"] = "sinusoid"
    clips: int = 480
    num_frames: int = 75
    size: int = 96
    candidates: int = 38
    least_share: float = 0.6
    labels: str = "runs/tiny-videotgb/pseudo_labels.jsonl"
    bridge_steps: int = 1500
    bridge_batch: int = 32
    bridge_rate: float = 2e-3
    answer_steps: int = 240
    answer_batch: int = 24
    answer_rate: float = 5e-4
    evaluation_clips: int = 20


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    base = vidweave.load(BASE).model
    model = VideoLanguageModel(tiny_videotgb(s.source, rope=s.rope))
    model.load_state_dict(base.state_dict(), strict=False)  # all but the selector
    if s.rope == "stored":
        for table in (model.selector.bridge.step_table, model.selector.bridge.word_table):
            nn.init.normal_(table, std=0.02)
    model.processor = Processor(model.config, base.processor.tokenizers)
    clips = partial(
        labeled_clips, BASE, s.clips, s.num_frames, s.size, s.candidates, s.labels, s.least_share, s.answer_steps > 0
    )
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    stages = [
        Stage(
            name="bridge",
            objective=SpanFromMotion(),
            examples=lambda _: LabeledQuestions(clips()),
            collate=partial(collate_motion, model.processor, s.source),
            passes=(Pass("bridge", ("selector.*",)),),
            steps=max(1, s.bridge_steps),
            batch_size=s.bridge_batch,
            optimizer=optimizer(lr=s.bridge_rate),
            schedule=Schedule("cosine", warmup_steps=40, min_lr_ratio=0.02),
        ),
        Stage(
            name="answers",
            objective=AnswersFromFewFrames(),
            examples=lambda _: LabeledQuestions(clips()),
            collate=partial(collate_frames, model.processor),
            passes=(Pass("connector", ("connector.*",)),),
            steps=max(1, s.answer_steps),
            batch_size=s.answer_batch,
            optimizer=optimizer(lr=s.answer_rate),
            schedule=Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02),
        ),
    ]
    return Run(
        name=NAME,
        model=model,
        stages=[stage for stage, steps in zip(stages, (s.bridge_steps, s.answer_steps), strict=True) if steps],
        seed=s.seed,
        finish=partial(_finish, settings=asdict(s)),
        config=asdict(s),
    )


@torch.no_grad()
def hits(model: VideoLanguageModel, source: str, *, num_frames: int, clips: int, k: int = 4) -> float:
    """Share of selected frames that lie in the event of the question, on unseen scenes; its times are used only here."""
    inside: list[bool] = []
    for index in range(10**6, 10**6 + clips):
        scene = train_scene(index, length="long", num_frames=num_frames)
        clip: dict[str, Any] = {"video": encode_video(scene, 96)}
        clip |= {"flow": render(scene, "flow", size=96)} if source == "flow" else {}
        (item,) = questions(scene, question_types=QUESTION_TYPES[:1])
        (event,) = (o for o in scene.objects if o.colour == item.answer)
        with model.processor.prepare(Query.about(Clip(**clip), item.text)) as prepared:
            chosen = model.select(prepared, k=k)
        assert chosen is not None
        frames = (chosen.seconds[0] * scene.fps).round()
        inside += ((frames >= event.start_frame) & (frames < event.end_frame)).tolist()
    return float(np.mean(inside))


def _finish(model: VideoLanguageModel, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the asset: bridge and connector with the names of their frozen base models."""
    model = model.half().float().eval()  # the precision of the saved weights
    figures = {
        f"hits_at_{n}": hits(model, settings["source"], num_frames=n, clips=settings["evaluation_clips"])
        for n in (75, 300)
    }
    folder = out / "assets" / NAME
    model.half().save_pretrained(folder, bases={"encoders.rgb": "tiny-rgb", "language_model": "tiny-llama"})
    model.float()
    write_facts(folder / "asset.json", __file__, out, {**settings, "figures": figures})
    return figures
