"""Greedy decoding with OneLLM's released cache, which counts a fixed number of positions whatever the length of the
inputs.

Generated tokens then overwrite entries after the counted positions, reuse positions that are already taken, and attend
only to what precedes them. In a batch, prompts are read in one pass only up to the length of the shortest; the rest of
longer ones follows token by token, at the wrong positions, so that an answer depends on its neighbors. Published
figures were computed this way.
"""

# Axes: B items, S positions, D width, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import ConfigError, ShapeError
from vidweave.language.decoding import Cancel, Decoding, stopping
from vidweave.language.pretrained import finite_logits
from vidweave.types import Embeds

__all__ = ["legacy_cache_decoding"]

Read = Callable[[Tensor, int], Tensor]


def legacy_cache_decoding(
    embeds: Embeds,
    prefill: Read,
    step: Read,
    embed: Callable[[Tensor], Tensor],
    settings: Decoding,
    *,
    ends: Collection[int],
    pad: int,
    streamer: Any = None,
    cancel: Cancel | None = None,
) -> Tensor:
    """Decode from the prompts `embeds`.

    Args:
        prefill: ``(values (B, S, D), lag) -> logits (B, V)``: reads a prompt, then drops the last `lag` cache
            positions.
        step: ``(values (B, 1, D), position) -> logits (B, V)``: reads one more token.
        embed: (n,) ids → (n, D).
        settings: Settings with `legacy_inserted`.
        ends: Tokens that end an answer.
        pad: Token that pads answers to equal length.

    Returns:
        (B, L) new token ids.

    Raises:
        ShapeError: prompts of one batch with different numbers of inserted positions, which the released cache cannot
            hold.
    """
    prompts = [row[real] for row, real in zip(embeds.values, embeds.mask, strict=True)]
    lag, shortest = _lag(embeds, settings), min(map(len, prompts))
    rest = [prompt[shortest:] for prompt in prompts]
    logits = prefill(torch.stack([prompt[:shortest] for prompt in prompts]), lag)
    answers: list[list[int]] = [[] for _ in prompts]
    criteria = stopping(cancel)
    for number in range(max(map(len, rest)) + settings.max_new_tokens):
        tokens = finite_logits(logits).argmax(-1)
        vectors = embed(tokens)
        for row, (token, left) in enumerate(zip(tokens.tolist(), rest, strict=True)):
            if number < len(left):
                vectors[row] = left[number]
            elif not _is_done(answers[row], settings, ends):
                answers[row].append(token)
        if streamer is not None and number >= max(map(len, rest)):
            streamer.put(tokens.cpu())
        cancelled = any(bool(criterion(tokens[:, None], None).any()) for criterion in criteria)
        if cancelled or all(_is_done(answer, settings, ends) for answer in answers):
            break
        logits = step(vectors[:, None], shortest - lag + number)
    if streamer is not None:
        streamer.end()
    longest = max(map(len, answers))
    rows = [answer + [pad] * (longest - len(answer)) for answer in answers]
    return torch.tensor(rows, device=embeds.values.device)


def _lag(embeds: Embeds, settings: Decoding) -> int:
    """Return the number of prompt positions that the cache does not count."""
    if embeds.blocks_end is None or settings.legacy_inserted is None:
        raise ConfigError("legacy_inserted needs prompts with the end of their blocks (Embeds.blocks_end)")
    inserted = [max(0, end - 1) for end in embeds.blocks_end.tolist()]
    if len(set(inserted)) > 1:
        raise ShapeError(
            f"legacy_inserted needs prompts with equal numbers of inserted positions, got {sorted(set(inserted))}; "
            "ask one question at a time"
        )
    return max(0, inserted[0] - settings.legacy_inserted)


def _is_done(answer: list[int], settings: Decoding, ends: Collection[int]) -> bool:
    return len(answer) == settings.max_new_tokens or bool(answer and answer[-1] in ends)
