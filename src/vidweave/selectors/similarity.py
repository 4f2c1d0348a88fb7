"""Choose frames from their similarity to a question: gate, coverage and spans. Pure functions of numbers."""

# Axes: S scored frames in order of time, D feature width, k chosen frames

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidweave.errors import ConfigError

__all__ = [
    "SimilaritySettings",
    "SpanOfFrames",
    "choose_frames",
    "coarse_positions",
    "dense_positions",
    "find_spans",
    "is_global_question",
    "refined_positions",
    "snapped",
    "stands_out",
]

# Questions about the whole clip, by their wording; see `is_global_question`.
GLOBAL_PHRASES = (
    "summarize",
    "summarise",
    "summary",
    "describe the video",
    "describe this video",
    "describe the clip",
    "video about",
    "clip about",
    "main topic",
    "main theme",
    "main idea",
    "main purpose",
    "overall",
    "entire video",
    "whole video",
    "entire clip",
    "whole clip",
    "throughout the",
    "title for",
)
MIN_SIGMA = 1e-4  # cosine; differences below it are rounding


@dataclass(frozen=True, kw_only=True)
class SimilaritySettings:
    """How many frames are scored, and how the chosen ones are spread.

    Attributes:
        share: Part of the clip's frames that is scored for one question, at most.
        min_scored: Frames that are scored in any case, as far as there are so many.
        refined: Frames among them that are scored around the best ones of the coarse grid.
        per_cell: Frames that are scored between two neighbors of the coarse grid.
        diversity: 0..1: how far a frame that looks like a chosen one and is near it in time is held back.
        max_redundancy: A frame more redundant than this is not chosen for its relevance; see `choose_frames`.
        near_seconds: Scale of time on which similar frames count as near, at most.
        relevant: Part of the way from the median to the best score above which a frame is relevant.
        gate: Leave global questions and flat curves to uniform sampling.
    """

    share: float = 0.02
    min_scored: int = 128
    refined: int = 64
    per_cell: int = 4
    diversity: float = 0.8
    max_redundancy: float = 0.9
    near_seconds: float = 20.0
    relevant: float = 0.5
    gate: bool = True

    def __post_init__(self) -> None:
        parts = (self.share, self.diversity, self.max_redundancy, self.relevant)
        if not all(0 <= part <= 1 for part in parts) or not self.share or not self.relevant:
            raise ConfigError(f"share, diversity, max_redundancy and relevant must lie in 0..1, got {self}")
        if self.min_scored < 2 or self.refined < 0 or self.per_cell < 1 or self.near_seconds <= 0:
            raise ConfigError(
                f"min_scored must be at least 2, refined 0, per_cell 1, and near_seconds above 0, got {self}"
            )

    def budget(self, num_candidates: int) -> int:
        """Frames to score for one question."""
        return max(self.min_scored, math.floor(self.share * num_candidates))

    def coarse_count(self, num_candidates: int, num_frames: int) -> int:
        """Frames of the coarse grid: all of a short clip; never fewer than twice the `num_frames` to choose."""
        budget = self.budget(num_candidates)
        if num_candidates <= budget:
            return num_candidates
        count = budget - self.refined_count(budget)
        while count < 2 * num_frames:  # a grid is indexed again only if it doubles
            count *= 2
        return min(count, num_candidates)

    def refined_count(self, budget: int) -> int:
        """Frames to score around the best ones."""
        return min(self.refined, budget // 4)


def is_global_question(question: str) -> bool:
    """Whether the wording asks about the whole clip: one of `GLOBAL_PHRASES` is in it."""
    text = " ".join(question.lower().split())
    return any(phrase in text for phrase in GLOBAL_PHRASES)


def stands_out(scores: np.ndarray) -> bool:
    """Whether the best score (S,) lies above what the largest of S normal numbers would be.

    The test is (max - median) / sigma > sqrt(2 ln S), with sigma from the median absolute deviation: a curve that fails it is
    flat, or the whole clip is relevant, and uniform sampling is as good.
    """
    if len(scores) < 2:
        return False
    median = float(np.median(scores))
    sigma = max(1.4826 * float(np.median(np.abs(scores - median))), MIN_SIGMA)
    return (float(scores.max()) - median) / sigma > math.sqrt(2 * math.log(len(scores)))


def coarse_positions(count: int, available: int) -> np.ndarray:
    """`count` positions in 0..available-1: the middles of equal parts."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * available // (2 * count)


def snapped(grid: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Move each position of a grid to the nearest of `keys` (ascending) at most half a step away, which is cheaper to decode."""
    if len(grid) < 2 or not len(keys):
        return grid
    right = np.searchsorted(keys, grid).clip(0, len(keys) - 1)
    left = (right - 1).clip(0)
    nearest = np.where(grid - keys[left] <= keys[right] - grid, keys[left], keys[right])
    return np.unique(np.where(2 * np.abs(nearest - grid) <= np.diff(grid).min(), nearest, grid))


def refined_positions(grid: np.ndarray, scores: np.ndarray, count: int, per_cell: int) -> list[np.ndarray]:
    """Positions to score next, for each of the best cells of a grid: between it and its right neighbor.

    Args:
        grid: (S,) scored positions, ascending.
        scores: (S,) their scores; a cell is as good as the better of its borders, then as their sum.
        count: Positions in all, at most.
    """
    left, right = scores[:-1], scores[1:]
    order = np.lexsort((-(left + right), -np.maximum(left, right)))
    cells: list[np.ndarray] = []
    for cell in order.tolist():
        low, high = int(grid[cell]), int(grid[cell + 1])
        steps = min(per_cell, high - low - 1, count)
        if steps > 0:
            cells.append(low + (np.arange(1, steps + 1) * (high - low)) // (steps + 1))
            count -= steps
        if count <= 0:
            break
    return cells


def choose_frames(
    scores: np.ndarray, features: np.ndarray, seconds: np.ndarray, count: int, settings: SimilaritySettings
) -> np.ndarray:
    """Choose `count` of S frames: relevant, but no two similar ones side by side. Ascending indices (k,).

    Greedy, as in maximal marginal relevance: the next frame has the largest r * (1 - diversity * q), where r in 0..1 is its
    score between the median and the best, and q in 0..1 is the largest redundancy with a chosen frame: cosine similarity of
    the features, centered on the clip's mean, times exp(-distance in time / tau), with tau = duration / (4 * count), at most
    `near_seconds`. When no relevant frame with q <= max_redundancy is left, the largest gaps in time are filled, so that the
    context of the clip is seen as well.

    Args:
        features: (S, D) of unit length.
    """
    median = float(np.median(scores))
    relevance = ((scores - median) / max(float(scores.max()) - median, MIN_SIGMA)).clip(0, 1)
    centered = features - features.mean(0)
    centered = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
    tau = max(min(float(seconds[-1] - seconds[0]) / (4 * count), settings.near_seconds), 1e-6)
    redundancy, is_chosen = np.zeros(len(scores)), np.zeros(len(scores), dtype=bool)
    is_relevant = relevance >= settings.relevant
    for _ in range(min(count, len(scores))):
        is_open = is_relevant & ~is_chosen & (redundancy <= settings.max_redundancy)
        worth = np.where(~is_open, -1.0, relevance * (1 - settings.diversity * redundancy))
        best = int(worth.argmax()) if worth.max() > 0 else _farthest(seconds, is_chosen)
        is_chosen[best] = True
        near = np.exp(-np.abs(seconds - seconds[best]) / tau)
        redundancy = np.maximum(redundancy, (centered @ centered[best]).clip(0, 1) * near)
    return np.flatnonzero(is_chosen)


def _farthest(seconds: np.ndarray, is_chosen: np.ndarray) -> int:
    """The frame that is farthest in time from all chosen ones."""
    if not is_chosen.any():
        return len(seconds) // 2
    apart = np.abs(seconds[:, None] - seconds[is_chosen][None]).min(1)
    return int(np.where(is_chosen, -1.0, apart).argmax())


@dataclass(frozen=True)
class SpanOfFrames:
    """Scored frames `first`..`last` (inclusive) in a row that are relevant, borders in seconds, and the best score."""

    first: int
    last: int
    start: float
    end: float
    score: float


def find_spans(scores: np.ndarray, seconds: np.ndarray, relevant: float) -> list[SpanOfFrames]:
    """Runs of relevant frames, best first; borders lie halfway to the neighboring scored frames."""
    median, best = float(np.median(scores)), float(scores.max())
    inside = scores >= median + relevant * max(best - median, MIN_SIGMA)
    if not inside.any():
        inside = scores >= best
    edges = np.diff(np.concatenate([[0], inside.astype(int), [0]]))
    middles = np.concatenate([seconds[:1], (seconds[:-1] + seconds[1:]) / 2, seconds[-1:]])
    spans = [
        SpanOfFrames(
            int(first),
            int(stop) - 1,
            float(middles[first]),
            float(middles[stop]),
            float(scores[first:stop].max()),
        )
        for first, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    ]
    return sorted(spans, key=lambda span: -span.score)


def dense_positions(spans: list[tuple[int, int]], count: int, available: int) -> np.ndarray:
    """`count` positions, ascending and distinct, spread evenly over spans of positions (first, last), both included.

    Spans that overlap are joined; a span grows on both sides where the spans together hold fewer than `count` positions.
    """
    inside = np.zeros(available, dtype=bool)
    reach = 0
    while True:
        for first, last in spans:
            inside[max(0, first - reach) : last + reach + 1] = True
        held = np.flatnonzero(inside)
        if len(held) >= min(count, available):
            return held[coarse_positions(min(count, len(held)), len(held))]
        reach = max(1, 2 * reach)
