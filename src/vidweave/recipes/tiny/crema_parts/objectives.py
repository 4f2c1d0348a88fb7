"""What the language model and the ports are trained on, with a vector for each fact that a modality can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.model.assembly import VideoLanguageModel
from vidweave.recipes.tiny.crema_parts.beginning import say, tokens_of
from vidweave.recipes.tiny.crema_parts.clips import (
    Asked,
    CremaBatch,
    seen,
    sense_families,
    video_families,
)
from vidweave.systems.tiny.crema import SENSES
from vidweave.tiny.fact_vectors import FactVectors, relative_error
from vidweave.tiny.modalities import SENSE_SAYS
from vidweave.tiny.prompts import answer_loss, as_blocks, is_right
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import question
from vidweave.types import Clip, Frames

__all__ = ["Answers", "CremaRoot", "Reads", "Says", "reading"]


class CremaRoot(nn.Module):
    """The model; the vectors of facts, which it does not need afterwards; and the tokens (Q, D) of a gray video."""

    blank: Tensor

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.codes = FactVectors(len(SENSE_SAYS), model.language_model.width, std=1.5, scale=10.0)
        grey = Frames.from_array(np.full((16, 48, 48, 3), 127, np.uint8), fps=8)
        self.register_buffer("blank", torch.from_numpy(tokens_of(model, Clip(video=grey))).float(), persistent=False)


NOISE = 0.45  # of what is added in lessons, per direction, where a code has 1.5: senses will not speak as clearly


@dataclass(frozen=True)
class Reads:
    """The language model learns `parts` of a batch, `questions` or `sheets`, from what senses say without a mistake, but
    not quite clearly."""

    parts: tuple[str, ...] = ("questions", "sheets")

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        said = dict(zip(SENSES, root.codes(batch.said).unbind(1), strict=True))
        losses = {name: _loss_of_answers(root, batch, getattr(batch, name), said, noise=NOISE) for name in self.parts}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


@dataclass(frozen=True)
class Says:
    """Each sense says its facts, alone. Parts are its squared error over the square of what it should say."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        errors = _errors(root, batch, _all_say(root, batch))
        return {"loss": torch.stack(list(errors.values())).mean(), **errors}


@dataclass(frozen=True)
class Answers:
    """Answers from what any set of senses says; each of them keeps to its facts."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        parts = _all_say(root, batch)
        error = torch.stack(list(_errors(root, batch, parts).values())).mean()
        answers = _loss_of_answers(root, batch, batch.questions, parts)
        return {"loss": answers + 0.5 * error, "answers": answers, "error": error}


def _all_say(root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
    """Sense → what it adds to f of the fusion, (B, Q, D)."""
    weights: Any = root.model.connector.fusion.weights
    return {m: functional.linear(say(root.model, m, values), weights[m]) for m, values in batch.felt.items()}


def _errors(root: CremaRoot, batch: CremaBatch, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wanted = {sense: root.codes(batch.said[:, SENSES.index(sense)]) for sense in parts}
    return {m: relative_error(part, wanted[m], is_centered=False) for m, part in parts.items()}


def _loss_of_answers(
    root: CremaRoot, batch: CremaBatch, asked: Asked, parts: Mapping[str, Tensor], noise: float = 0.0
) -> Tensor:
    """Of answers, where each sense adds (B, Q, D) before the gate."""
    has = asked.has[:, [SENSES.index(sense) for sense in parts]]
    added = (torch.stack(list(parts.values()), 1)[asked.clip_of] * has[:, :, None, None]).sum(1)
    added = added + noise * torch.randn_like(added) * has.any(1)[:, None, None]
    tokens = torch.where(asked.blank[:, None, None], root.blank, batch.tokens[asked.clip_of])
    return answer_loss(root.model, asked.prompts, as_blocks(tokens + functional.silu(added)))


@torch.no_grad()
def reading(root: CremaRoot, step: int, *, clips: int) -> dict[str, float]:
    """Share of right answers per family where senses say all they know without a mistake, on scenes not trained on."""
    model, rng = root.model, np.random.default_rng(1)
    scenes = [train_scene(1_000_000 + i) for i in range(clips)]
    looked = [seen(model, scene) for scene in scenes]
    names = [*sense_families(), *video_families()]
    asked = [(i, q) for i, scene in enumerate(scenes) for n in names if (q := question(scene, n, rng)) is not None]
    right: dict[str, list[bool]] = {name: [] for name in names}
    for start in range(0, len(asked), 128):
        rows = asked[start : start + 128]
        said = torch.from_numpy(np.stack([looked[i].said for i, _ in rows]))
        tokens = torch.from_numpy(np.stack([looked[i].tokens for i, _ in rows])).float()
        tokens = tokens + functional.silu(root.codes(said).sum(1))
        for (_, q), found in zip(rows, is_right(model, [q for _, q in rows], tokens), strict=True):
            right[q.family].append(found)
    return {name: sum(found) / len(found) for name, found in right.items() if found}
