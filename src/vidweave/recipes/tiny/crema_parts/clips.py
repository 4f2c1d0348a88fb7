"""Clips as encoded by the frozen parts, with their questions and fact sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.recipes.tiny.crema_parts.initialization import clip_of, features_of, video_tokens
from vidweave.systems.tiny.crema import MODALITIES
from vidweave.tiny.clip_questions import DESCRIBE
from vidweave.tiny.modalities import modality_facts
from vidweave.tiny.prompts import plan_prompts
from vidweave.tiny.scenes import ClipExample, ClipQuestions
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import description, fact_sheet
from vidweave.toyworld.questions import QUESTION_TYPES, ToyQuestion, question_types
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Clip, PromptPlan

__all__ = [
    "ClipTokens",
    "Clips",
    "CremaBatch",
    "HARD",
    "Prompts",
    "collate",
    "load_all",
    "load_video",
    "modality_question_types",
    "video_question_types",
]

HARD = ("nearer", "nearer", "left_right", "above_below", "change", "beeps", "consistency")  # asked more often


SHEET_PROMPT = "What is felt and heard?"


@dataclass(frozen=True)
class ClipTokens:
    """Encoded clip: its scene, video tokens (Q, D), the facts of its modalities (modalities, Q, facts), and their
    features."""

    scene: ToyScene
    tokens: np.ndarray
    facts: np.ndarray
    features: dict[str, np.ndarray]


class Clips:
    """Questions of some types about clips, each of which is encoded once for all stages that use it."""

    def __init__(self, clips: int, load: Callable[[VideoLanguageModel, ToyScene], ClipTokens]) -> None:
        self._clips, self._load = clips, load
        self._questions: ClipQuestions | None = None

    def __call__(self, names: Sequence[str], per_clip: int, root: Any) -> ClipQuestions:
        if self._questions is None:
            self._questions = ClipQuestions(self._clips, names, partial(self._load, root.model), per_clip=per_clip)
        return self._questions.asking(names, per_clip)


def load_video(model: VideoLanguageModel, scene: ToyScene) -> ClipTokens:
    """Encode the video tokens only, with the correct facts of all modalities."""
    tokens = video_tokens(model, Clip(video=render(scene, "video")))
    facts = modality_facts(scene, len(tokens))
    return ClipTokens(scene, tokens, np.stack([facts[modality] for modality in MODALITIES]), {})


def load_all(model: VideoLanguageModel, scene: ToyScene, *, modalities: Sequence[str] = MODALITIES) -> ClipTokens:
    """Encode the video tokens and the features of further modalities."""
    features = features_of(model, clip_of(scene, modalities))
    return replace(load_video(model, scene), features=features)


@dataclass(frozen=True)
class Prompts:
    """Prompts with their answers about clips of a batch."""

    clip_of: Tensor  # (R,) index of the clip of each prompt
    has: Tensor  # (R, modalities) bool: the modalities of its clip
    blank: Tensor  # (R,) bool: the video is blank
    prompts: PromptPlan

    def to(self, device: Any) -> Prompts:
        return Prompts(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class CremaBatch:
    """Clips, questions about them, and fact sheets of some."""

    tokens: Tensor  # (B, Q, D) of the videos
    facts: Tensor  # (B, modalities, Q, facts) bool
    features: dict[str, Tensor]  # modality → features (B, T, N, C)
    questions: Prompts
    sheets: Prompts

    def to(self, device: Any) -> CremaBatch:
        features = {name: values.to(device) for name, values in self.features.items()}
        rest = {name: getattr(self, name).to(device) for name in ("tokens", "facts", "questions", "sheets")}
        return CremaBatch(features=features, **rest)


def collate(processor: Processor, sheet_every: int, described: float, examples: Sequence[ClipExample]) -> CremaBatch:
    """Collate clips; every `sheet_every`th one has the fact sheet of its modalities, or (a share `described`) its description."""
    clips = [example.clip for example in examples]
    pairs = [(clip, q) for clip, example in enumerate(examples) for q in example.questions]
    rng = np.random.default_rng([len(pairs), *(ord(c) for _, q in pairs for c in q.text[-12:])])
    return CremaBatch(
        tokens=torch.from_numpy(np.stack([clip.tokens for clip in clips])).float(),
        facts=torch.from_numpy(np.stack([clip.facts for clip in clips])),
        features={m: torch.from_numpy(np.stack([c.features[m] for c in clips])).float() for m in clips[0].features},
        questions=_questions(processor, pairs, rng),
        sheets=_sheets(processor, list(enumerate(clips))[::sheet_every], described, rng),
    )


def _questions(processor: Processor, pairs: Sequence[tuple[int, ToyQuestion]], rng: np.random.Generator) -> Prompts:
    """Prompt each question with the modalities that it needs, and others; a quarter of the videos of audio questions are blank."""
    needs = torch.tensor([[modality in q.needs for modality in MODALITIES] for _, q in pairs])
    is_audio = torch.tensor([q.needs == {"audio"} for _, q in pairs])
    return Prompts(
        clip_of=torch.tensor([clip for clip, _ in pairs]),
        has=needs | _some(len(pairs), rng),
        blank=is_audio & torch.from_numpy(rng.random(len(pairs)) < 0.25),
        prompts=plan_prompts(processor, [q.text for _, q in pairs], [q.answer for _, q in pairs]),
    )


def _sheets(
    processor: Processor, clips: Sequence[tuple[int, ClipTokens]], described: float, rng: np.random.Generator
) -> Prompts:
    """Prompt for the facts of at least one modality, object by object; or (a share `described`) for a description."""
    has = _some(len(clips), rng)
    has[torch.arange(len(clips)), torch.from_numpy(rng.integers(len(MODALITIES), size=len(clips)))] = True
    words = []
    for (_, clip), there in zip(clips, has.tolist(), strict=True):
        shown = [modality for modality, is_there in zip(MODALITIES, there, strict=True) if is_there]
        is_described = rng.random() < described
        words.append((DESCRIBE, description(clip.scene)) if is_described else (SHEET_PROMPT, _sheet(clip.scene, shown)))
    prompts = plan_prompts(processor, [text for text, _ in words], [answer for _, answer in words])
    return Prompts(torch.tensor([i for i, _ in clips]), has, torch.zeros(len(clips), dtype=torch.bool), prompts)


def _sheet(scene: ToyScene, modalities: Sequence[str]) -> str:
    """Write a fact sheet with objects in the order of `SHAPES`, so that every word is predictable."""
    objects = sorted(scene.objects, key=lambda obj: a.SHAPES.index(obj.shape))
    return fact_sheet(replace(scene, objects=tuple(objects)), modalities=modalities)


def _some(rows: int, rng: np.random.Generator) -> Tensor:
    """Draw (rows, modalities) bool: each modality with a probability drawn for the row."""
    return torch.from_numpy(rng.random((rows, len(MODALITIES))) < rng.random((rows, 1)))


def video_question_types() -> list[str]:
    """List the question types that video alone answers."""
    return list(question_types(needs={"video"}, scope="short", encoder="general"))


def modality_question_types() -> list[str]:
    """List the question types that need another modality than video."""
    return [
        name
        for name, question_type in QUESTION_TYPES.items()
        if question_type.scope == "short" and question_type.needs & set(MODALITIES)
    ]
