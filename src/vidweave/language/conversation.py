"""Training prompts from conversations and captions: whole texts after token blocks, with a loss on answers only."""

# Axes: B items, L plan positions

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vidweave.errors import QueryError
from vidweave.language.chat import ChatFormat
from vidweave.types import PromptPlan

__all__ = ["Turns", "plan_captions", "plan_conversations", "plan_turns"]

Turns = Sequence[tuple[Sequence[int], bool]]  # token ids, and whether they are trained on


def plan_conversations(
    conversations: Sequence[Sequence[str]],
    tokenizer: Any,
    chat: ChatFormat,
    blocks: Sequence[str | None],
    *,
    max_tokens: int = 2048,
) -> PromptPlan:
    """Plan question, answer, question, … of each item; `blocks` names the block before each (None: text only).

    Turns are tokenized one by one, so that the border between question and answer is the same as in a prompt. If the
    tokenizer has no begin token, nothing is masked in its place.

    Args:
        max_tokens: Maximum length of a text; longer ones are cut at the end.

    Raises:
        QueryError: a conversation that does not end with an answer.
    """
    rows, chat = [], chat.spelled_for(tokenizer)
    for messages in conversations:
        if len(messages) % 2 or not messages:
            raise QueryError(f"a conversation must end with an answer, got {len(messages)} messages")
        pieces = chat.pieces(messages)
        texts = [piece.rstrip() if chat.strips else piece for piece in pieces]
        rows.append([(_ids(tokenizer, text), bool(turn % 2)) for turn, text in enumerate(texts)])
    return plan_turns(rows, _begin(tokenizer), blocks, max_tokens=max_tokens)


def plan_captions(
    captions: Sequence[str], tokenizer: Any, blocks: Sequence[str | None], *, max_tokens: int = 2048
) -> PromptPlan:
    """Plan begin token, block, caption, end token: no question, and a loss on the whole caption."""
    rows = [[([*_ids(tokenizer, caption.strip()), tokenizer.eos_token_id], True)] for caption in captions]
    return plan_turns(rows, _begin(tokenizer), blocks, max_tokens=max_tokens)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _begin(tokenizer: Any) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def plan_turns(
    rows: Sequence[Turns], begin: Sequence[int], blocks: Sequence[str | None], *, max_tokens: int = 2048
) -> PromptPlan:
    """Plan turns of token ids after the `begin` tokens and the blocks; cut to `max_tokens` and padded on the right."""
    if len(rows) != len(blocks):
        raise QueryError(f"{len(blocks)} blocks are given for {len(rows)} texts; give one name (or None) each")
    slots: dict[tuple[str, int, int | None], int] = {}
    lines = []
    for turns, block in zip(rows, blocks, strict=True):
        words = [(begin, False), *turns]
        ids = [i for part, _ in words for i in part][:max_tokens]
        target = [is_target for part, is_target in words for _ in part][:max_tokens]
        slot = [-1] * len(ids)
        if block is not None:
            at = len(begin)
            number = slots.setdefault((block, 0, None), len(slots))
            ids, slot, target = _insert(ids, at, -1), _insert(slot, at, number), _insert(target, at, False)
        lines.append((ids, slot, target))
    longest = max((len(ids) for ids, _, _ in lines), default=0)
    ids, slot, target = (
        torch.tensor([[*line[part], *[filler] * (longest - len(line[part]))] for line in lines])
        for part, filler in ((0, -1), (1, -1), (2, False))
    )
    return PromptPlan(ids, slot, tuple(slots), target)


def _insert(values: list[Any], at: int, value: Any) -> list[Any]:
    return [*values[:at], value, *values[at:]]
