"""Objectives of the language model and the ports, with a vector for each fact that a modality can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.model.assembly import VideoLanguageModel
from vidweave.recipes.tiny.crema_parts.clips import (
    CremaBatch,
    Prompts,
    load_video,
    modality_question_types,
    video_question_types,
)
from vidweave.recipes.tiny.crema_parts.initialization import port_tokens, video_tokens
from vidweave.systems.tiny.crema import MODALITIES
from vidweave.tiny.fact_vectors import FactVectors, relative_error
from vidweave.tiny.modalities import MODALITY_FACTS
from vidweave.tiny.prompts import answer_loss, as_blocks, is_right
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import question
from vidweave.types import Clip, Frames

__all__ = ["AnswersWithVectors", "CremaRoot", "FactReading", "VectorError", "reading_accuracy"]


class CremaRoot(nn.Module):
    """The model; the fact vectors, which it does not need afterwards; and the tokens (Q, D) of a gray video."""

    blank: Tensor

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.codes = FactVectors(len(MODALITY_FACTS), model.language_model.width, std=1.5, scale=10.0)
        gray = Frames.from_array(np.full((16, 48, 48, 3), 127, np.uint8), fps=8)
        self.register_buffer("blank", torch.from_numpy(video_tokens(model, Clip(video=gray))).float(), persistent=False)


NOISE = 0.45  # added in reading, per direction, where a vector has 1.5: ports will not output exact vectors


@dataclass(frozen=True)
class FactReading:
    """Loss of the language model on `parts` of a batch, `questions` or `sheets`, from the correct fact vectors with
    noise."""

    parts: tuple[str, ...] = ("questions", "sheets")

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        vectors = dict(zip(MODALITIES, root.codes(batch.facts).unbind(1), strict=True))
        losses = {name: _answer_loss(root, batch, getattr(batch, name), vectors, noise=NOISE) for name in self.parts}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


@dataclass(frozen=True)
class VectorError:
    """Error of each modality's vectors, trained alone. Parts are the squared errors relative to the targets' squares."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        errors = _errors(root, batch, _port_vectors(root, batch))
        return {"loss": torch.stack(list(errors.values())).mean(), **errors}


@dataclass(frozen=True)
class AnswersWithVectors:
    """Loss of answers from any set of modalities, plus the error of their vectors."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        parts = _port_vectors(root, batch)
        error = torch.stack(list(_errors(root, batch, parts).values())).mean()
        answers = _answer_loss(root, batch, batch.questions, parts)
        return {"loss": answers + 0.5 * error, "answers": answers, "error": error}


def _port_vectors(root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
    """Map each modality to its input f of the fusion, (B, Q, D)."""
    weights: Any = root.model.connector.fusion.weights
    return {m: functional.linear(port_tokens(root.model, m, v), weights[m]) for m, v in batch.features.items()}


def _errors(root: CremaRoot, batch: CremaBatch, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    targets = {modality: root.codes(batch.facts[:, MODALITIES.index(modality)]) for modality in parts}
    return {m: relative_error(part, targets[m], is_centered=False) for m, part in parts.items()}


def _answer_loss(
    root: CremaRoot, batch: CremaBatch, prompts: Prompts, parts: Mapping[str, Tensor], noise: float = 0.0
) -> Tensor:
    """Loss of answers, where each modality adds (B, Q, D) before the gate."""
    has = prompts.has[:, [MODALITIES.index(modality) for modality in parts]]
    added = (torch.stack(list(parts.values()), 1)[prompts.clip_of] * has[:, :, None, None]).sum(1)
    added = added + noise * torch.randn_like(added) * has.any(1)[:, None, None]
    tokens = torch.where(prompts.blank[:, None, None], root.blank, batch.tokens[prompts.clip_of])
    return answer_loss(root.model, prompts.prompts, as_blocks(tokens + functional.silu(added)))


@torch.no_grad()
def reading_accuracy(root: CremaRoot, step: int, *, clips: int) -> dict[str, float]:
    """Accuracy per question type from the correct fact vectors of all modalities, on unseen scenes."""
    model, rng = root.model, np.random.default_rng(1)
    scenes = [train_scene(1_000_000 + i) for i in range(clips)]
    encoded = [load_video(model, scene) for scene in scenes]
    names = [*modality_question_types(), *video_question_types()]
    items = [(i, q) for i, scene in enumerate(scenes) for n in names if (q := question(scene, n, rng)) is not None]
    right: dict[str, list[bool]] = {name: [] for name in names}
    for start in range(0, len(items), 128):
        rows = items[start : start + 128]
        facts = torch.from_numpy(np.stack([encoded[i].facts for i, _ in rows]))
        tokens = torch.from_numpy(np.stack([encoded[i].tokens for i, _ in rows])).float()
        tokens = tokens + functional.silu(root.codes(facts).sum(1))
        for (_, q), is_correct in zip(rows, is_right(model, [q for _, q in rows], tokens), strict=True):
            right[q.question_type].append(is_correct)
    return {name: sum(values) / len(values) for name, values in right.items() if values}
