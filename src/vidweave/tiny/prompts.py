"""Prompts with visual tokens: plan them, compute the loss of the answers, score options."""

# Axes: B clips, R prompts, Q visual tokens of a clip, D language-model width

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.toyworld.questions import ToyQuestion
from vidweave.types import Blocks, Clip, Embeds, PromptPlan, Query

__all__ = ["answer_loss", "as_blocks", "is_right", "plan_prompts", "read_prompts", "select_rows"]


def plan_prompts(
    processor: Any, texts: Sequence[str], answers: Sequence[str] | None = None, *, num_segments: int = 1
) -> PromptPlan:
    """Plan one prompt per text, each about its own clip with tokens in `num_segments` segments.

    Args:
        processor: Processor whose layout writes the prompt, with its tokenizer `language`.
        answers: With answers, the plan includes labels for training.
    """
    queries = [Query.about(Clip("never opened"), text) for text in texts]
    segments = {("video", item, 0): num_segments for item in range(len(queries))}
    return processor.plan(queries, segments, answers)


def as_blocks(tokens: Tensor) -> Blocks:
    """Wrap tokens (R, Q, D) as blocks with one segment per prompt."""
    item = torch.arange(len(tokens), device=tokens.device)
    mask = torch.ones(len(tokens), 1, tokens.shape[1], dtype=torch.bool, device=tokens.device)
    return Blocks(tokens[:, None], mask, tokens.new_zeros(len(tokens), 1, 2), item, torch.zeros_like(item))


def select_rows(clips: Blocks, rows: Tensor) -> Blocks:
    """Select the blocks of R prompts; prompt `i` is about clip `rows[i]` of the B in `clips`."""
    item = torch.arange(len(rows)).to(rows)
    return Blocks(clips.values[rows], clips.mask[rows], clips.seconds[rows], item, torch.zeros_like(item))


def read_prompts(model: Any, plan: PromptPlan, video: Blocks) -> Embeds:
    """Embed prompts with their visual tokens in place."""
    return model.read(plan, {"video": video})


def answer_loss(model: Any, plan: PromptPlan, video: Blocks) -> Tensor:
    """Mean cross-entropy of the answers' tokens."""
    return model.language_model.loss(read_prompts(model, plan, video))


@torch.no_grad()
def is_right(model: Any, questions: Sequence[ToyQuestion], tokens: Tensor) -> list[bool]:
    """Whether the option with the highest score is the answer, for each question with its tokens (R, Q, D)."""
    queries = [Query.about(Clip("never opened"), q.text, q.options) for q in questions]
    embeds = read_prompts(model, plan_prompts(model.processor, [q.text for q in questions]), as_blocks(tokens))
    scores = model.language_model.score(model.language_model.prefill(embeds), model.processor.option_ids(queries))
    return [q.options[int(np.argmax(row))] == q.answer for q, row in zip(questions, scores, strict=True)]
