"""Reading comprehension for a language model: fact sheet and question → answer."""

# Axes: B items, L text tokens

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.tiny.scenes import FactQuestion
from vidweave.types import MeanOver, TextTokens

__all__ = ["FactBatch", "ReadFacts", "collate_facts"]


@dataclass(frozen=True)
class FactBatch:
    """Prompts and answers as tokens, padded on the right."""

    prompt: TextTokens
    answer: TextTokens

    def to(self, device: Any) -> FactBatch:
        return FactBatch(self.prompt.to(device), self.answer.to(device))


def collate_facts(tokenizer: Any, examples: list[FactQuestion]) -> FactBatch:
    """Tokenize `facts question` → `answer`, formatted as in the tiny layout."""
    prompts = tokenizer([f" {e.facts} {e.question}" for e in examples])["input_ids"]
    answers = tokenizer([f" {e.answer}" for e in examples])["input_ids"]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    return FactBatch(_pad([[begin, *ids] for ids in prompts]), _pad([[*ids, end] for ids in answers]))


def _pad(rows: list[list[int]]) -> TextTokens:
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return TextTokens(ids, torch.arange(ids.shape[1])[None] < torch.tensor([len(row) for row in rows])[:, None])


@dataclass(frozen=True)
class ReadFacts:
    """Loss of answering a question from a fact sheet; `which` names the language model of the root (`model.language_model`, `t5`)."""

    which: str

    def means(self, batch: FactBatch) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {"loss": MeanOver(int(batch.answer.mask.sum()))}

    def __call__(self, root: Any, batch: FactBatch) -> dict[str, Tensor]:
        language_model = root.get_submodule(self.which)
        prompt, answer = batch.prompt, batch.answer
        if language_model.side == "right":
            labels = answer.ids.masked_fill(~answer.mask, -100)
            logits = language_model.model(input_ids=prompt.ids, attention_mask=prompt.mask.long(), labels=labels).logits
            return {"loss": functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)}
        ids, is_answer = _join(prompt, answer)
        hidden = language_model.model.model(input_ids=ids).last_hidden_state[:, :-1]
        target = is_answer[:, 1:]
        return {"loss": functional.cross_entropy(language_model.model.lm_head(hidden[target]), ids[:, 1:][target])}


def _join(prompt: TextTokens, answer: TextTokens) -> tuple[Tensor, Tensor]:
    """Append each answer to its prompt, padding at the end: ids (B, L), and the mask of the answer tokens."""
    rows = [
        torch.cat([p[m], a[n]]) for p, m, a, n in zip(prompt.ids, prompt.mask, answer.ids, answer.mask, strict=True)
    ]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    start, length = prompt.mask.sum(1, keepdim=True), answer.mask.sum(1, keepdim=True)
    position = torch.arange(ids.shape[1])[None]
    return ids, (position >= start) & (position < start + length)
