"""Beam search from embeddings as in transformers until 4.34, with a start token that is never read but counts.

Published figures were computed this way: the start token is included in `max_length`, the repetition penalty applies to
it from the first step, and hypotheses are ranked by their sums over a length that includes it but not the end token.
"""

# Axes: B items, k beams, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidweave.language.decoding import Decoding

__all__ = ["legacy_beam_search"]

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass
class _Item:
    """State of one prompt: its running beams (tokens, start token first) and the finished hypotheses, best first."""

    settings: Decoding
    beams: list[list[int]]
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    done: bool = False

    def add(self, total: float, tokens: list[int]) -> None:
        score = total / len(tokens) ** self.settings.length_penalty
        self.finished.append((score, tokens))
        self.finished.sort(key=lambda pair: -pair[0])
        del self.finished[self.settings.num_beams :]

    def check_done(self, best_total: float) -> None:
        """Set `done` if no running beam can still exceed the worst kept hypothesis."""
        if self.done or len(self.finished) < self.settings.num_beams:
            return
        attainable = best_total / (len(self.beams[0])) ** self.settings.length_penalty
        self.done = self.settings.early_stopping or self.finished[-1][0] >= attainable


def legacy_beam_search(first: Tensor, step: Step, settings: Decoding, ends: Collection[int], pad: int) -> Tensor:
    """Search from the logits (B, V) of the first token.

    Args:
        step: ``(tokens (B * k,), parents (B * k,)) -> logits (B * k, V)``: reads one more token of each beam; parents
            are the rows of the previous step that the beams continue.
        settings: Settings with a `legacy_start`.
        ends: Tokens that end an answer.
        pad: Token that pads answers to equal length.

    Returns:
        (B * num_return_sequences, L) new token ids, as from `generate`.
    """
    assert settings.legacy_start is not None
    size, vocabulary = settings.num_beams, first.shape[-1]
    items = [_Item(settings, [[settings.legacy_start]] * size) for _ in first]
    logits = first.repeat_interleave(size, 0)
    totals = torch.full((len(first), size), -1e9, device=first.device)
    totals[:, 0] = 0.0  # all beams start equal: only one of them counts
    processors = settings.processors(first.dtype)
    for number in range(settings.max_new_tokens):
        scores = logits.float().log_softmax(-1)
        seen = torch.tensor([beam for item in items for beam in item.beams], device=first.device)
        scores = processors(seen, scores)  # type: ignore[arg-type]
        if number < settings.min_new_tokens:
            scores[:, list(ends)] = -torch.inf
        best = (scores.unflatten(0, (-1, size)) + totals[..., None]).flatten(1).topk(2 * size)
        chosen = [
            _advance(item, values, [divmod(index, vocabulary) for index in indices], ends, pad)
            for item, values, indices in zip(items, best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        totals = torch.tensor([[total for total, _ in beams] for beams in chosen], device=first.device)
        if all(item.done for item in items) or number + 1 == settings.max_new_tokens:
            break
        parents = [row * size + parent for row, beams in enumerate(chosen) for _, parent in beams]
        tokens = [beam[-1] for item in items for beam in item.beams]
        logits = step(torch.tensor(tokens, device=first.device), torch.tensor(parents, device=first.device))
    return _answers(items, totals.tolist(), settings, min(ends, default=pad), pad, first.device)


def _advance(
    item: _Item, totals: list[float], places: list[tuple[int, int]], ends: Collection[int], pad: int
) -> list[tuple[float, int]]:
    """Select the best continuations, best first; return (total, parent) of each running beam."""
    size = len(item.beams)
    if item.done:
        item.beams = [[*beam, pad] for beam in item.beams]
        return [(0.0, 0)] * size
    running: list[tuple[float, int]] = []
    beams = []
    for rank, (total, (parent, token)) in enumerate(zip(totals, places, strict=True)):
        if token in ends:
            if rank < size:
                item.add(total, item.beams[parent])
        elif len(running) < size:
            running.append((total, parent))
            beams.append([*item.beams[parent], token])
        if len(running) == size:
            break
    item.beams = beams
    item.check_done(max(totals))
    return running


def _answers(
    items: list[_Item], totals: list[list[float]], settings: Decoding, end: int, pad: int, device: torch.device
) -> Tensor:
    rows = []
    for item, running in zip(items, totals, strict=True):
        if not item.done:
            for total, beam in zip(running, item.beams, strict=True):
                item.add(total, beam)
        for _, tokens in item.finished[: settings.num_return_sequences]:
            new = tokens[1:]
            rows.append([*new, end] if len(new) < settings.max_new_tokens else new)
    longest = max(map(len, rows), default=0)
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
