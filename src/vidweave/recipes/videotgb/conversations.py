"""Batches of conversations about images, videos and nothing, and their loss (stages IV and IVT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidweave.data.instruct import last_question
from vidweave.language.layout import Special, TemplateLayout, Text
from vidweave.model.assembly import VideoLanguageModel
from vidweave.training import (
    AnswerLoss,
)
from vidweave.types import Clip, Conversation, MeanOver, ModelInputs, PromptPlan, Query, TextTokens

__all__ = ["ConversationLoss", "Conversations", "collate_conversations", "last_questions"]


def last_questions(items: Sequence[Conversation]) -> list[Query]:
    """The last turn of each. The model's own layout writes it as it will in use: the original showed other words in
    training than in evaluation, and others again in its demo."""
    return [last_question(item).query for item in items]


@dataclass(frozen=True)
class Conversations:
    """A batch of IV and IVT: items with media, one kind of medium each, and texts."""

    with_media: tuple[ModelInputs, ...]
    texts: PromptPlan | None = None
    text_answers: TextTokens | None = None
    counts: tuple[int, ...] = ()  # target tokens of each part, the texts last

    def to(self, device: Any) -> Conversations:
        """On another device."""
        return Conversations(
            tuple(inputs.to(device) for inputs in self.with_media),
            None if self.texts is None else self.texts.to(device),
            None if self.text_answers is None else self.text_answers.to(device),
            counts=self.counts,
        )


def collate_conversations(model: VideoLanguageModel, items: list[Conversation]) -> Conversations:
    """IV and IVT: frames at the timestamps that the bridge selects; texts go to the language model alone."""
    kinds = {kind: [item for item in items if (item.modality or "text") == kind] for kind in ("video", "image", "text")}
    seen = [kinds[kind] for kind in ("video", "image") if kinds[kind]]
    with_media = tuple(
        model.processor(last_questions(part), targets=[item.answer for item in part], select=model.select)
        for part in seen
    )
    counts = tuple(inputs.num_target_tokens for inputs in with_media)
    if not kinds["text"]:
        return Conversations(with_media, counts=counts)
    plan, answers = _plan_texts(model, kinds["text"])
    learned = ModelInputs({}, {}, plan, len(kinds["text"]), (), target=answers).num_target_tokens
    return Conversations(with_media, plan, answers, (*counts, learned))


def _plan_texts(model: VideoLanguageModel, items: list[Conversation]) -> tuple[PromptPlan, TextTokens | None]:
    processor, is_seq2seq = model.processor, model.spec.language_model.kind == "seq2seq"
    words = Text(text="USER: {question} ASSISTANT: ")
    parts = (words, Special(token="eos")) if is_seq2seq else (Special(token="bos", if_any=True), words)
    layout = TemplateLayout(parts=parts, on_overflow="truncate")
    # Nothing is opened: a query needs a clip by name, and the layout has no place for its tokens.
    queries = [Query.about(Clip("none"), item.turns[-1][0]) for item in items]
    answers = [item.answer for item in items]
    plan = processor.plan(queries, {}, None if is_seq2seq else answers, layout=layout)
    return plan, processor.target_tokens(queries, answers, layout=layout) if is_seq2seq else None


@dataclass(frozen=True)
class ConversationLoss:
    """The answers' loss of a mixed batch: the mean over all its target tokens."""

    def means(self, batch: Conversations) -> dict[str, MeanOver]:
        """Terms of the loss, see `vidweave.types.Objective`."""
        return {"loss": MeanOver(sum(batch.counts))}

    def __call__(self, model: VideoLanguageModel, batch: Conversations) -> dict[str, Tensor]:
        losses = [AnswerLoss()(model, inputs)["loss"] for inputs in batch.with_media]
        if batch.texts is not None:
            losses.append(model.language_model.loss(model.read(batch.texts, {}), batch.text_answers))
        weights = torch.tensor(batch.counts, dtype=torch.float32, device=losses[0].device)
        return {"loss": (torch.stack(losses) * weights).sum() / weights.sum()}
