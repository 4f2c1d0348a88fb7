"""Objectives on questions about clips whose features are stored: answers, descriptions, quarters and fact sheets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from vidweave.tiny.fact_reading import FactBatch, ReadFacts, collate_facts
from vidweave.tiny.prompts import answer_loss, plan_prompts, select_rows
from vidweave.tiny.quarter_labels import QuarterLabels, collate_quarters
from vidweave.tiny.scenes import ClipExample, FactQuestions
from vidweave.tiny.sources import stack_features
from vidweave.types import Blocks, Features, MeanOver, PromptPlan

__all__ = ["ClipLosses", "DESCRIBE", "QuartersFromConnector", "QuestionBatch", "ReadBatchFacts", "collate_clips"]

DESCRIBE = "Describe the clip."


@dataclass(frozen=True)
class QuestionBatch:
    """Features of some clips, the prompts of all questions about them, a description of each, and fact sheets."""

    features: Features
    clip_of: Tensor  # (B,) row of `features` that each question is about
    questions: PromptPlan
    descriptions: PromptPlan
    quarters: dict[str, Tensor]
    facts: FactBatch

    def to(self, device: Any) -> QuestionBatch:
        quarters = {name: labels.to(device) for name, labels in self.quarters.items()}
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "quarters"}
        return QuestionBatch(**moved, quarters=quarters)

    def encode(self, root: Any) -> dict[str, Blocks]:
        """Run the connector on each clip."""
        return root.model.connector({"video": self.features}, self.features.item, self.features.scene)[0]


def collate_clips(processor: Any, num_facts: int, examples: list[ClipExample]) -> QuestionBatch:
    """Batch the questions about some clips, with `num_facts` fact sheets selected by the questions."""
    pairs = [(clip, question) for clip, example in enumerate(examples) for question in example.questions]
    texts = [question.text for _, question in pairs]
    sheets = FactQuestions()
    first = crc32("".join(texts).encode()) % (len(sheets) - num_facts)
    return QuestionBatch(
        stack_features([example.clip for example in examples]),
        torch.tensor([clip for clip, _ in pairs]),
        plan_prompts(processor, texts, [question.answer for _, question in pairs]),
        plan_prompts(processor, [DESCRIBE] * len(examples), [example.description for example in examples]),
        collate_quarters([example.quarters for example in examples]),
        collate_facts(processor.tokenizers["language"], [sheets[first + i] for i in range(num_facts)]),
    )


class QuartersFromConnector:
    """Loss of the connector alone: the content of each quarter of the frame."""

    def means(self, batch: QuestionBatch) -> dict[str, MeanOver]:
        return QuarterLabels().means(batch.quarters)

    def __call__(self, root: Any, batch: QuestionBatch) -> dict[str, Tensor]:
        return QuarterLabels()(root, batch.encode(root), batch.quarters)


@dataclass(frozen=True)
class ClipLosses:
    """Sum of the losses `parts` about clips: `questions`, `descriptions`, `quarters`.

    The connector runs once per clip for all of them, since it does not read the questions.
    """

    parts: tuple[str, ...]

    def __call__(self, root: Any, batch: QuestionBatch) -> dict[str, Tensor]:
        blocks = batch.encode(root)
        clips = blocks["video"]
        terms = {
            "questions": lambda: answer_loss(root.model, batch.questions, select_rows(clips, batch.clip_of)),
            "descriptions": lambda: answer_loss(
                root.model, batch.descriptions, select_rows(clips, batch.features.item)
            ),
            "quarters": lambda: 0.1 * QuarterLabels()(root, blocks, batch.quarters)["loss"],
        }
        losses = {name: terms[name]() for name in self.parts}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


class ReadBatchFacts:
    """Loss of reading fact sheets, so that the language model does not forget the facts of other modalities."""

    def means(self, batch: QuestionBatch) -> dict[str, MeanOver]:
        return ReadFacts("model.language_model").means(batch.facts)

    def __call__(self, root: Any, batch: QuestionBatch) -> dict[str, Tensor]:
        return ReadFacts("model.language_model")(root, batch.facts)
