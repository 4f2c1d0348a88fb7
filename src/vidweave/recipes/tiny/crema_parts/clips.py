"""Clips as the frozen parts see them, and what is asked and told about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.model.assembly import VideoLanguageModel
from vidweave.recipes.tiny.crema_parts.beginning import clip_of, features_of, tokens_of
from vidweave.systems.tiny.crema import SENSES
from vidweave.tiny.clip_questions import DESCRIBE
from vidweave.tiny.modalities import said_by_senses
from vidweave.tiny.prompts import plan_prompts
from vidweave.tiny.scenes import ClipExample, ClipQuestions
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import description, fact_sheet
from vidweave.toyworld.questions import FAMILIES, ToyQuestion, families
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Clip, PromptPlan

__all__ = [
    "Asked",
    "Clips",
    "CremaBatch",
    "HARD",
    "Seen",
    "collate",
    "felt",
    "seen",
    "sense_families",
    "video_families",
]

HARD = ("nearer", "nearer", "left_right", "above_below", "change", "beeps", "consistency")  # asked more often


TELL = "What is felt and heard?"


@dataclass(frozen=True)
class Seen:
    """What stands for a clip: its scene, tokens (Q, D) of its video, what its senses say (senses, Q, facts), and their
    features."""

    scene: ToyScene
    tokens: np.ndarray
    said: np.ndarray
    felt: dict[str, np.ndarray]


class Clips:
    """Questions of some families about clips, each of which is encoded once for all stages that ask about it."""

    def __init__(self, clips: int, look: Callable[[VideoLanguageModel, ToyScene], Seen]) -> None:
        self._clips, self._look = clips, look
        self._made: ClipQuestions | None = None

    def __call__(self, names: Sequence[str], per_clip: int, root: Any) -> ClipQuestions:
        if self._made is None:
            self._made = ClipQuestions(self._clips, names, partial(self._look, root.model), per_clip=per_clip)
        return self._made.asking(names, per_clip)


def seen(model: VideoLanguageModel, scene: ToyScene) -> Seen:
    """The video's tokens alone, and what senses would say."""
    tokens = tokens_of(model, Clip(video=render(scene, "video")))
    said = said_by_senses(scene, len(tokens))
    return Seen(scene, tokens, np.stack([said[sense] for sense in SENSES]), {})


def felt(model: VideoLanguageModel, scene: ToyScene, *, senses: Sequence[str] = SENSES) -> Seen:
    """With the features of senses."""
    features = features_of(model, clip_of(scene, senses))
    return replace(seen(model, scene), felt=features)


@dataclass(frozen=True)
class Asked:
    """Prompts with their answers about clips of a batch."""

    clip_of: Tensor  # (R,) which clip each is about
    has: Tensor  # (R, senses) bool: the senses that its clip has
    blank: Tensor  # (R,) bool: nothing is to be seen
    prompts: PromptPlan

    def to(self, device: Any) -> Asked:
        return Asked(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class CremaBatch:
    """Clips, questions about them, and all that is told of some."""

    tokens: Tensor  # (B, Q, D) of the videos
    said: Tensor  # (B, senses, Q, facts) bool
    felt: dict[str, Tensor]  # sense → features (B, T, N, C)
    questions: Asked
    sheets: Asked

    def to(self, device: Any) -> CremaBatch:
        felt = {name: values.to(device) for name, values in self.felt.items()}
        rest = {name: getattr(self, name).to(device) for name in ("tokens", "said", "questions", "sheets")}
        return CremaBatch(felt=felt, **rest)


def collate(
    model: VideoLanguageModel, told_every: int, described: float, examples: Sequence[ClipExample]
) -> CremaBatch:
    """Of every `told_every`th clip all is told that senses say, or (a share `described`) all that is seen."""
    clips = [example.clip for example in examples]
    asked = [(clip, q) for clip, example in enumerate(examples) for q in example.questions]
    rng = np.random.default_rng([len(asked), *(ord(c) for _, q in asked for c in q.text[-12:])])
    return CremaBatch(
        tokens=torch.from_numpy(np.stack([clip.tokens for clip in clips])).float(),
        said=torch.from_numpy(np.stack([clip.said for clip in clips])),
        felt={m: torch.from_numpy(np.stack([c.felt[m] for c in clips])).float() for m in clips[0].felt},
        questions=_questions(model, asked, rng),
        sheets=_sheets(model, list(enumerate(clips))[::told_every], described, rng),
    )


def _questions(model: VideoLanguageModel, asked: Sequence[tuple[int, ToyQuestion]], rng: np.random.Generator) -> Asked:
    """Each with the senses that it needs, and others. Beside what is only heard, a quarter of the videos are blank."""
    needs = torch.tensor([[sense in q.needs for sense in SENSES] for _, q in asked])
    heard = torch.tensor([q.needs == {"audio"} for _, q in asked])
    return Asked(
        clip_of=torch.tensor([clip for clip, _ in asked]),
        has=needs | _some(len(asked), rng),
        blank=heard & torch.from_numpy(rng.random(len(asked)) < 0.25),
        prompts=plan_prompts(model, [q.text for _, q in asked], [q.answer for _, q in asked]),
    )


def _sheets(
    model: VideoLanguageModel, clips: Sequence[tuple[int, Seen]], described: float, rng: np.random.Generator
) -> Asked:
    """What at least one sense tells, object by object; or (a share `described`) what is to be seen."""
    has = _some(len(clips), rng)
    has[torch.arange(len(clips)), torch.from_numpy(rng.integers(len(SENSES), size=len(clips)))] = True
    words = []
    for (_, clip), there in zip(clips, has.tolist(), strict=True):
        senses = [sense for sense, is_there in zip(SENSES, there, strict=True) if is_there]
        is_described = rng.random() < described
        words.append((DESCRIBE, description(clip.scene)) if is_described else (TELL, _sheet(clip.scene, senses)))
    prompts = plan_prompts(model, [text for text, _ in words], [answer for _, answer in words])
    return Asked(torch.tensor([i for i, _ in clips]), has, torch.zeros(len(clips), dtype=torch.bool), prompts)


def _sheet(scene: ToyScene, senses: Sequence[str]) -> str:
    """Objects in the order of `SHAPES`, so that every word can be known."""
    objects = sorted(scene.objects, key=lambda obj: a.SHAPES.index(obj.shape))
    return fact_sheet(replace(scene, objects=tuple(objects)), modalities=senses)


def _some(rows: int, rng: np.random.Generator) -> Tensor:
    """(rows, senses) bool: each sense with a probability that is drawn for the row."""
    return torch.from_numpy(rng.random((rows, len(SENSES))) < rng.random((rows, 1)))


def video_families() -> list[str]:
    """Question types that video alone answers."""
    return list(families(needs={"video"}, scope="short", encoder="general"))


def sense_families() -> list[str]:
    """Question types that take another modality than video."""
    return [name for name, family in FAMILIES.items() if family.scope == "short" and family.needs & set(SENSES)]
