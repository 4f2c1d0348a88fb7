"""Batches of questions about memories, and what the connector is trained on."""

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
from vidweave.tiny.sources import MadeOnce
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
    "start_speaking",
]


class Telling(nn.Module):
    """Tokens that make the language model say an answer: all but the last are the same for every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Parameter(2 * torch.randn(QUERIES - 1, WIDTH))
        self.answers = nn.Parameter(2 * torch.randn(len(ANSWERS), WIDTH))

    def forward(self, answer: Tensor) -> Tensor:
        """answer (B,) → tokens (B, Q, D)."""
        return torch.cat([self.always.expand(len(answer), -1, -1), self.answers[answer][:, None]], 1)


class LongRoot(nn.Module):
    """The model, and what is thrown away afterwards: readers of its tokens, and tokens to learn from."""

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.visit_heads = visit_heads(WIDTH)
        self.telling = Telling()


@dataclass(frozen=True)
class LongBatch:
    """One question about each of B clips: their memories, the question as the Q-Former reads it, and dense labels."""

    values: Tensor
    size: Tensor
    newest: Tensor
    text: TextTokens
    labels: dict[str, Tensor]

    def to(self, device: Any) -> LongBatch:
        tensors = {name: getattr(self, name).to(device) for name in ("values", "size", "newest", "text")}
        return LongBatch(**tensors, labels={name: truth.to(device) for name, truth in self.labels.items()})

    def look(self, root: LongRoot) -> dict[str, Blocks]:
        """The connector's tokens, read from the memories as from any other state."""
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


def collate_clips(model: VideoLanguageModel, source: MadeOnce[Memories], examples: list[LongQuestion]) -> LongBatch:
    """The questions and memories of a batch."""
    assert source.made is not None
    rows = torch.tensor([example.clip for example in examples])
    texts = [example.question.text for example in examples]
    made = source.made
    return LongBatch(
        made.values[rows],
        made.size[rows],
        made.newest[rows],
        model.processor.read_text("trunk", texts),
        collate_visits([example.labels for example in examples]),
    )


@dataclass(frozen=True)
class PromptBatch:
    """Prompts with their answers, and which of ANSWERS each is (B,)."""

    plan: PromptPlan
    answer: Tensor

    def to(self, device: Any) -> PromptBatch:
        return PromptBatch(self.plan.to(device), self.answer.to(device))


def collate_prompts(model: VideoLanguageModel, examples: list[LongQuestion]) -> PromptBatch:
    """The prompts of a batch, and what is to be answered."""
    answers = [example.question.answer for example in examples]
    plan = plan_prompts(model, [example.question.text for example in examples], answers)
    return PromptBatch(plan, torch.tensor([ANSWERS.index(answer) for answer in answers]))


class VisitsFromConnector:
    """The loss of the connector alone: what came when, and how often."""

    def means(self, batch: LongBatch) -> dict[str, MeanOver]:
        return VisitLabels().means(batch.labels)

    def __call__(self, root: LongRoot, batch: LongBatch) -> dict[str, Tensor]:
        return VisitLabels()(root, batch.look(root), batch.labels)


@dataclass(frozen=True)
class AnswersFromTokens:
    """The language model says the answer that it is told, though not quite in these words: `noise` is the strength of what
    is added to them beside their own, since no connector will hit them exactly."""

    noise: float = 0.5

    def __call__(self, root: LongRoot, batch: PromptBatch) -> dict[str, Tensor]:
        told = root.telling(batch.answer)
        tokens = told + self.noise * told.detach().std() * torch.randn_like(told)
        return {"loss": answer_loss(root.model, batch.plan, as_blocks(tokens))}


@dataclass(frozen=True)
class AnswerBatch:
    """The same questions as the connector and as the language model read them."""

    clips: LongBatch
    prompts: PromptBatch

    def to(self, device: Any) -> AnswerBatch:
        return AnswerBatch(self.clips.to(device), self.prompts.to(device))


def collate_answers(model: VideoLanguageModel, source: MadeOnce[Memories], examples: list[LongQuestion]) -> AnswerBatch:
    """Both."""
    return AnswerBatch(collate_clips(model, source, examples), collate_prompts(model, examples))


class AnswersFromConnector:
    """The connector's tokens become those that the language model has to be told, and it says the answer.

    Errors are in units of the tokens' variance. The last token is compared with every answer's, so that it comes nearer
    to the right one than to any other.
    """

    def __call__(self, root: LongRoot, batch: AnswerBatch) -> dict[str, Tensor]:
        blocks, answer = batch.clips.look(root), batch.prompts.answer
        target, tokens = root.telling(answer).detach(), blocks["video"].values[:, 0].float()
        told = relative_error(tokens, target)
        away = torch.cdist(tokens[:, -1], root.telling.answers.detach()).square() / WIDTH
        right = functional.cross_entropy(-away, answer)
        said = answer_loss(root.model, batch.prompts.plan, blocks["video"])
        return {"loss": told + right + 2 * said, "told": told, "right": right, "said": said}


def start_speaking(source: MadeOnce[Memories], root: LongRoot, *, batches: int = 12, ridge: float = 1e-2) -> Memories:
    """The memories, after the connector's last layer was set to tell what the language model has to be told as well as a
    linear layer can; one that tells it already (of a run that is resumed) is left as it is."""
    made, layer, seen = source(root), root.model.connector.ports["video"].output_proj, []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(0, 1)))
    loaded = [collate_answers(root.model, source, [made[48 * b + i] for i in range(48)]) for b in range(batches)]
    with torch.enable_grad():  # a memory that was stored has no projections beside it
        told = [float(AnswersFromConnector()(root, batch)["told"].detach()) for batch in loaded]
    hook.remove()
    if sum(told) / batches > 0.5:
        hidden = torch.cat(seen).float()
        hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
        wanted = torch.cat([root.telling(batch.prompts.answer).detach().flatten(0, 1) for batch in loaded])
        gram = hidden.T @ hidden / len(hidden) + ridge * torch.eye(hidden.shape[1])
        solved = torch.linalg.solve(gram, hidden.T @ wanted / len(hidden))
        set_linear(layer, solved[:-1].T, solved[-1])
    return made
