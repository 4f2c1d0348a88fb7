"""Batches of questions about memories, and the connector's objectives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.memory import MemoryState
from vidweave.connectors.qformer_memory import Projected, QFormerMemory
from vidweave.encoders.tiny import WIDTH
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.nn.bank import Bank
from vidweave.recipes.tiny.malmm_parts.memories import Memories
from vidweave.systems.malmm.tiny import QUERIES
from vidweave.tiny.fact_vectors import relative_error
from vidweave.tiny.linear_starts import set_linear
from vidweave.tiny.long_clips import (
    ANSWERS,
    LongQuestion,
)
from vidweave.tiny.prompts import answer_loss, as_blocks, plan_prompts
from vidweave.tiny.sources import SharedSource
from vidweave.tiny.visit_labels import VisitLabels, collate_visits, visit_heads
from vidweave.types import Blocks, MeanOver, PromptPlan, TextTokens

__all__ = [
    "AnswersFromConnector",
    "AnswersFromTokens",
    "LongRoot",
    "VisitsFromConnector",
    "collate_answers",
    "collate_clips",
    "collate_prompts",
    "fit_output_layer",
]


class AnswerTokens(nn.Module):
    """Trainable tokens that make the language model give an answer: all but the last are the same for every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Parameter(2 * torch.randn(QUERIES - 1, WIDTH))
        self.answers = nn.Parameter(2 * torch.randn(len(ANSWERS), WIDTH))

    def forward(self, answer: Tensor) -> Tensor:
        """Map answer indices (B,) to tokens (B, Q, D)."""
        return torch.cat([self.always.expand(len(answer), -1, -1), self.answers[answer][:, None]], 1)


class LongRoot(nn.Module):
    """The model, and modules discarded after training: probes of its tokens, and the target tokens of answers."""

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.visit_heads = visit_heads(WIDTH)
        self.answer_tokens = AnswerTokens()


@dataclass(frozen=True)
class LongBatch:
    """One question about each of B clips: their memories, the question tokenized for the Q-Former, and dense labels."""

    values: Tensor
    size: Tensor
    newest: Tensor
    text: TextTokens
    labels: dict[str, Tensor]

    def to(self, device: Any) -> LongBatch:
        tensors = {name: getattr(self, name).to(device) for name in ("values", "size", "newest", "text")}
        return LongBatch(**tensors, labels={name: label.to(device) for name, label in self.labels.items()})

    def encode(self, root: LongRoot) -> dict[str, Blocks]:
        """Run the connector from the stored memories, as from any other state."""
        connector, (rows, slots, tokens) = root.model.connector, self.size.shape
        item = torch.arange(rows, device=self.size.device)
        length = self.size.new_full((rows, tokens), slots - 1, dtype=torch.long)
        bank = Bank(
            values=self.values.float(),
            size=self.size,
            order=torch.arange(slots, device=item.device)[None, :, None].expand_as(self.size),
            length=length,
            similarity=self.size.new_zeros(rows, max(0, slots - 1), tokens),
            filled=None,
        )
        count = torch.full_like(item, 1)
        layers = len(connector.trunks["qformer"].layers)
        memory = QFormerMemory(Projected(bank), (None,) * layers, count)
        mask = torch.ones(rows, tokens, dtype=torch.bool, device=item.device)
        seconds = self.newest.new_zeros(rows, 2, dtype=torch.float32)
        pending = MemoryState(memory=memory, keys=self.newest.float(), mask=mask, seconds=seconds, count=count)
        state = connector.begin(item, torch.zeros_like(item), self.text)
        return connector.read(replace(state, memories={"qformer": pending}))[0]


def collate_clips(processor: Processor, source: SharedSource[Memories], examples: list[LongQuestion]) -> LongBatch:
    """Collate the questions and memories of a batch."""
    assert source.value is not None
    rows = torch.tensor([example.clip for example in examples])
    texts = [example.question.text for example in examples]
    memories = source.value
    return LongBatch(
        memories.values[rows],
        memories.size[rows],
        memories.newest[rows],
        processor.read_text("trunk", texts),
        collate_visits([example.labels for example in examples]),
    )


@dataclass(frozen=True)
class PromptBatch:
    """Prompts with their answers, and the index (B,) of each answer in ANSWERS."""

    plan: PromptPlan
    answer: Tensor

    def to(self, device: Any) -> PromptBatch:
        return PromptBatch(self.plan.to(device), self.answer.to(device))


def collate_prompts(processor: Processor, examples: list[LongQuestion]) -> PromptBatch:
    """Collate the prompts of a batch, and the indices of their answers."""
    answers = [example.question.answer for example in examples]
    plan = plan_prompts(processor, [example.question.text for example in examples], answers)
    return PromptBatch(plan, torch.tensor([ANSWERS.index(answer) for answer in answers]))


class VisitsFromConnector:
    """Loss of the connector alone: order and counts of visits."""

    def means(self, batch: LongBatch) -> dict[str, MeanOver]:
        return VisitLabels().means(batch.labels)

    def __call__(self, root: LongRoot, batch: LongBatch) -> dict[str, Tensor]:
        return VisitLabels()(root, batch.encode(root), batch.labels)


@dataclass(frozen=True)
class AnswersFromTokens:
    """Loss of the language model's answer from its answer tokens, with noise: `noise` is its strength relative to
    the tokens, since no connector will output them exactly."""

    noise: float = 0.5

    def __call__(self, root: LongRoot, batch: PromptBatch) -> dict[str, Tensor]:
        exact = root.answer_tokens(batch.answer)
        tokens = exact + self.noise * exact.detach().std() * torch.randn_like(exact)
        return {"loss": answer_loss(root.model, batch.plan, as_blocks(tokens))}


@dataclass(frozen=True)
class AnswerBatch:
    """The same questions, tokenized for the connector and for the language model."""

    clips: LongBatch
    prompts: PromptBatch

    def to(self, device: Any) -> AnswerBatch:
        return AnswerBatch(self.clips.to(device), self.prompts.to(device))


def collate_answers(processor: Processor, source: SharedSource[Memories], examples: list[LongQuestion]) -> AnswerBatch:
    """Collate clips and prompts."""
    return AnswerBatch(collate_clips(processor, source, examples), collate_prompts(processor, examples))


class AnswersFromConnector:
    """Loss of the connector's tokens against the answer tokens, and of the answer through the language model.

    Errors are in units of the tokens' variance. The last token is compared with every answer's, so that it is nearest
    to the right one.
    """

    def __call__(self, root: LongRoot, batch: AnswerBatch) -> dict[str, Tensor]:
        blocks, answer = batch.clips.encode(root), batch.prompts.answer
        target, tokens = root.answer_tokens(answer).detach(), blocks["video"].values[:, 0].float()
        error = relative_error(tokens, target)
        distances = torch.cdist(tokens[:, -1], root.answer_tokens.answers.detach()).square() / WIDTH
        nearest = functional.cross_entropy(-distances, answer)
        answers = answer_loss(root.model, batch.prompts.plan, blocks["video"])
        return {"loss": error + nearest + 2 * answers, "error": error, "nearest": nearest, "answers": answers}


def fit_output_layer(
    source: SharedSource[Memories], root: LongRoot, *, batches: int = 12, ridge: float = 1e-2
) -> Memories:
    """Fit the connector's last layer to the answer tokens by least squares, and return the memories; a layer that fits
    already (of a resumed run) is not changed."""
    memories, layer, inputs = source(root), root.model.connector.ports["video"].output_proj, []
    hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach().flatten(0, 1)))
    loaded = [
        collate_answers(root.model.processor, source, [memories[48 * b + i] for i in range(48)]) for b in range(batches)
    ]
    with torch.enable_grad():  # a stored memory has no projections beside it
        errors = [float(AnswersFromConnector()(root, batch)["error"].detach()) for batch in loaded]
    hook.remove()
    if sum(errors) / batches > 0.5:
        hidden = torch.cat(inputs).float()
        hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
        targets = torch.cat([root.answer_tokens(batch.prompts.answer).detach().flatten(0, 1) for batch in loaded])
        gram = hidden.T @ hidden / len(hidden) + ridge * torch.eye(hidden.shape[1])
        solved = torch.linalg.solve(gram, hidden.T @ targets / len(hidden))
        set_linear(layer, solved[:-1].T, solved[-1])
    return memories
