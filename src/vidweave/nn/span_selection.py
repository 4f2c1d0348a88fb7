"""Convert start and end scores to spans, and spans to exactly k selected candidates. Pure functions.

Starts never come after ends, padding is never selected, and results are deterministic. Randomness (Gumbel noise) comes
from a generator passed by the caller, for training only.
"""

# Axes: R rows, L motion steps, m spans, C candidate timestamps, k selected timestamps

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.errors import ConfigError, ShapeError

__all__ = [
    "gumbel_noise",
    "inside_spans",
    "step_density",
    "pick_candidates",
    "candidate_weights",
    "span_loss",
    "thin",
    "top_spans",
]

LOWEST = -1e9  # logit of padding steps: finite, so that a fully padded row stays finite


def gumbel_noise(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return Gumbel noise in the shape of `logits`; the argmax of their sum is a sample from the softmax.

    Raises:
        ConfigError: no generator; the global one would make runs irreproducible.
    """
    if generator is None:
        raise ConfigError("sampling spans needs a generator: pass generator=torch.Generator().manual_seed(…)")
    uniform = torch.rand(logits.shape, generator=generator, device=generator.device).to(logits.device)
    return -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))


def top_spans(
    logits: Tensor,
    mask: Tensor,
    num_spans: int,
    *,
    max_overlap: float = 0.5,
    min_share: float = 0.0,
    max_steps: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable spans with limited overlap.

    Candidate spans pair each start with its best end and each end with its best start (L of each); they are selected
    greedily, most probable first, ties by the earliest.

    Args:
        logits: (R, L, 2) of start and end.
        mask: (R, L), True at real steps.
        num_spans: m.
        max_overlap: Maximum intersection over union with an earlier span.
        min_share: Minimum probability of a further span relative to the first.
        max_steps: Maximum length of a span; None is unlimited.

    Returns:
        Spans (R, m, 2) int64, first and last step, both inclusive; their probabilities (R, m) among all spans with
        start ≤ end; and which are real (R, m). Spans that are not real repeat the first; a row without steps has none.
    """
    _check(logits, mask)
    rows, length = mask.shape
    if not length:
        empty = mask.new_zeros(rows, num_spans)
        return torch.zeros(rows, num_spans, 2, dtype=torch.long, device=mask.device), empty.to(logits.dtype), empty
    start, end = _log_softmax(logits, mask)
    spans, score = _pairs(start, end, max_steps or length)
    score = score - _log_mass(start, end)[:, None]
    is_free = mask.gather(1, spans[..., 0]) & mask.gather(1, spans[..., 1])
    taken = []
    for _ in range(num_spans):
        best = score.masked_fill(~is_free, -torch.inf).argmax(1, keepdim=True)
        chosen = spans.gather(1, best[..., None].expand(-1, -1, 2))
        taken.append((chosen, score.gather(1, best), is_free.gather(1, best)))
        is_free = is_free & (_overlap(spans, chosen) <= max_overlap)
    chosen, value, real = (torch.cat(parts, 1) for parts in zip(*taken, strict=True))
    probability = value.exp()
    real = real & (probability >= min_share * probability[:, :1])
    chosen = torch.where(real[..., None], chosen, chosen[:, :1])
    return chosen, probability.masked_fill(~real, 0.0), real


def inside_spans(times: Tensor, spans: Tensor, real: Tensor) -> Tensor:
    """Return the distance (R, C) of times (R, C) to the nearest real span; spans (R, m, 2) and real (R, m), in one unit.

    0 is inside, including the borders. Rows without a real span are infinitely far everywhere.
    """
    before = spans[:, None, :, 0] - times[..., None]
    after = times[..., None] - spans[:, None, :, 1]
    distance = torch.maximum(before, after).clamp(min=0).masked_fill(~real[:, None], torch.inf)
    return distance.amin(-1) if spans.shape[1] else torch.full_like(times, torch.inf)


def pick_candidates(distance: Tensor, mask: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Select exactly k candidates per row: the middles of k equal parts of those at distance 0, in time order.

    If fewer than k have distance 0, the nearest others are added; if there are fewer than k at all, they repeat.

    Args:
        distance: (R, C) of candidates in time order to the spans, see `inside_spans`.
        mask: (R, C), True at real candidates.

    Returns:
        Indices (R, k) of candidates, ascending, and a mask (R, k) that is False in rows without candidates.
    """
    rows, count = mask.shape
    if not count:
        return torch.zeros(rows, k, dtype=torch.long, device=mask.device), mask.new_zeros(rows, k)
    total = mask.sum(1)
    is_real, is_inside = mask, mask & (distance == 0)
    enough = torch.maximum(is_inside.sum(1), total.clamp(max=k))
    order = distance.masked_fill(~is_real, torch.inf).argsort(dim=1, stable=True)
    # Padding gets infinite distance and sorts last, since it comes after the candidates and the sort is stable.
    is_kept = torch.zeros_like(mask).scatter(1, order, torch.arange(count, device=mask.device) < enough[:, None])
    by_time = (~is_kept).to(torch.int8).argsort(dim=1, stable=True)
    steps = torch.arange(k, device=mask.device)
    place = ((2 * steps + 1) * enough[:, None] // (2 * k)).clamp(max=count - 1)
    return by_time.gather(1, place), (total > 0)[:, None].expand(-1, k)


def step_density(logits: Tensor, mask: Tensor) -> Tensor:
    """logits (R, L, 2), mask (R, L) → (R, L): probability that a step lies between independently drawn start and end.

    Differentiable; rows without steps are zero.
    """
    start, end = (part.exp().masked_fill(~mask, 0.0) for part in _log_softmax(logits, mask))
    return start.cumsum(1) * end.flip(1).cumsum(1).flip(1) * mask


def candidate_weights(density: Tensor, mask: Tensor, k: int) -> Tensor:
    """Return weights (R, k, C) of the candidates for each of k timestamps, from their density (R, C).

    Soft version of `pick_candidates`: the density is cut into k parts of equal mass, and a timestamp is the mean of its
    part. Differentiable; the weights of each timestamp sum to 1. A row with zero density weights all candidates equally.
    """
    density = density * mask
    total = density.sum(1, keepdim=True)
    density = torch.where(
        total > 1e-12, density / total.clamp(min=1e-12), mask / mask.sum(1, keepdim=True).clamp(min=1)
    )
    upper = density.cumsum(1)
    lower = upper - density
    borders = torch.arange(k + 1, device=density.device, dtype=density.dtype) / k
    low = torch.maximum(lower[:, None], borders[:-1, None])
    high = torch.minimum(upper[:, None], borders[1:, None])
    weight = (high - low).clamp(min=0)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)


def span_loss(logits: Tensor, starts: Tensor, ends: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of the cross-entropies of start and end; targets of L or more are ignored.

    Args:
        logits: (R, L, 2).
        starts, ends: (R,) steps.
        mask: (R, L) real steps; None includes padding in the softmax, as the original training does.
    """
    length = logits.shape[1]
    if mask is not None:
        logits = logits.masked_fill(~mask[..., None], LOWEST)
    targets = torch.stack([starts, ends], -1).clamp(0, length)
    if bool((targets == length).all()):
        return logits.sum() * 0.0
    start, end = (
        functional.cross_entropy(logits[..., side].float(), targets[:, side], ignore_index=length) for side in (0, 1)
    )
    return (start + end) / 2


def thin(mask: Tensor, limit: int) -> Tensor:
    """mask (R, C) of candidates, real ones first → indices (R, limit) of the middles of `limit` equal parts.

    Rows with at most `limit` candidates keep them all; their other indices point at padding or at the last one.
    """
    count = mask.sum(1, keepdim=True)
    steps = torch.arange(limit, device=mask.device)
    spread = (2 * steps + 1) * count // (2 * limit)
    return torch.where(count > limit, spread, steps.expand_as(spread)).clamp(max=max(mask.shape[1] - 1, 0))


def _check(logits: Tensor, mask: Tensor) -> None:
    if logits.ndim != 3 or logits.shape != (*mask.shape, 2):
        raise ShapeError(f"logits must be (R, L, 2) with a mask (R, L), got {tuple(logits.shape)}, {tuple(mask.shape)}")


def _log_softmax(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of start and end, each (R, L); padding gets none."""
    start, end = logits.float().masked_fill(~mask[..., None], LOWEST).log_softmax(1).unbind(-1)
    return start, end


def _pairs(start: Tensor, end: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Pair each start with its best end and each end with its best start: spans (R, 2L, 2), log-probabilities (R, 2L)."""
    steps = torch.arange(start.shape[1], device=start.device).expand_as(start)
    best_end, which_end = _best_ahead(end, longest)
    best_start, which_start = (part.flip(1) for part in _best_ahead(start.flip(1), longest))
    which_start = start.shape[1] - 1 - which_start
    spans = torch.cat([torch.stack([steps, which_end], -1), torch.stack([which_start, steps], -1)], 1)
    return spans, torch.cat([start + best_end, best_start + end], 1)


def _best_ahead(score: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Return the maximum over each step and the `longest` - 1 after it, and its index: (R, L) each."""
    length = score.shape[1]
    if longest >= length:
        value, index = score.flip(1).cummax(1)
        return value.flip(1), length - 1 - index.flip(1)
    padded = functional.pad(score, (0, longest - 1), value=-torch.inf)
    value, index = functional.max_pool1d(padded[:, None], longest, stride=1, return_indices=True)
    return value[:, 0], index[:, 0]


def _log_mass(start: Tensor, end: Tensor) -> Tensor:
    """(R,) log-probability that independently drawn start and end are in order."""
    ahead = end.exp().flip(1).cumsum(1).flip(1)
    return (start.exp() * ahead).sum(1).clamp(min=1e-30).log()


def _overlap(spans: Tensor, chosen: Tensor) -> Tensor:
    """Intersection over union of spans (R, P, 2) with one span (R, 1, 2), in steps: (R, P)."""
    shared = torch.minimum(spans[..., 1], chosen[..., 1]) - torch.maximum(spans[..., 0], chosen[..., 0]) + 1
    union = (spans[..., 1] - spans[..., 0]) + (chosen[..., 1] - chosen[..., 0]) + 2 - shared.clamp(min=0)
    return shared.clamp(min=0) / union
