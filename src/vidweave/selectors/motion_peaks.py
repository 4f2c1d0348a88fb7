"""Select timestamps with the most motion, regardless of the question: a simple baseline for the bridge."""

# Axes: R rows, C candidates, L motion steps, k timestamps

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.span_selection import pick_candidates
from vidweave.selectors.candidates import check_candidates
from vidweave.types import ComponentConfig, Features, Selection, TextTokens

__all__ = ["MotionPeaksSelector", "MotionPeaksSelectorConfig"]


@dataclass(frozen=True, kw_only=True)
class MotionPeaksSelectorConfig(ComponentConfig):
    """`min_gap_seconds`: minimum distance of two peaks, so that one long movement is one peak."""

    kind: ClassVar[str] = "motion_peaks"
    min_gap_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.min_gap_seconds < 0:
            raise ConfigError(f"min_gap_seconds must not be negative, got {self.min_gap_seconds}")

    def build(self) -> MotionPeaksSelector:
        return MotionPeaksSelector(self.min_gap_seconds)


class MotionPeaksSelector(nn.Module):
    """Select the k steps of largest motion, none within `min_gap_seconds` of a larger one."""

    needs_motion = True

    def __init__(self, min_gap_seconds: float) -> None:
        super().__init__()
        self.min_gap_seconds = min_gap_seconds

    def forward(
        self,
        motion: Features | None,
        text: TextTokens | None,
        candidates: Tensor,
        mask: Tensor,
        *,
        k: int,
        generator: torch.Generator | None = None,
    ) -> Selection:
        """Motion (R, L, N, C) and candidates (R, C) in seconds → the candidates nearest to the k largest steps.

        If fewer than k steps move, the candidates nearest to them fill up. Text and `generator` are ignored.

        Raises:
            ConfigError: no motion, or k below 1.
            ShapeError: rows of motion and candidates differ.
        """
        if motion is None or k < 1:
            raise ConfigError(
                f"the motion-peaks selector needs motion (a stream with role='selector') and k >= 1, got k={k}"
            )
        check_candidates(candidates, mask)
        if len(motion.values) != len(candidates):
            raise ShapeError(f"rows of candidates and motion differ: {len(candidates)}, {len(motion.values)}")
        real = motion.mask.any(-1)
        energy = motion.values.float().flatten(2).norm(dim=2).masked_fill(~real, 0.0)
        middle = motion.seconds.mean(-1).to(candidates.dtype)
        distance = torch.stack([self._distance(*row, k) for row in zip(energy, middle, candidates, strict=True)])
        index, chosen = pick_candidates(distance, mask, k)
        seconds = candidates.gather(1, index) if candidates.shape[1] else candidates.new_zeros(index.shape)
        spans = torch.stack([seconds, seconds], -1).masked_fill(~chosen[..., None], 0.0)
        return Selection(
            seconds=seconds.masked_fill(~chosen, 0.0),
            mask=chosen,
            spans=spans,
            steps=motion.seconds,
            step_mask=real,
            reason="motion_peaks",
        )

    def _distance(self, energy: Tensor, middle: Tensor, candidates: Tensor, k: int) -> Tensor:
        """Return (C,) seconds of each candidate to the nearest peak; 0 for the candidate nearest to a peak."""
        left, peaks = energy.clone(), []
        while len(peaks) < k and bool((left > 0).any()):
            top = middle[left.argmax()]
            peaks.append(top)
            left = left.masked_fill((middle - top).abs() <= self.min_gap_seconds, 0.0)
        if not peaks or not len(candidates):
            return torch.zeros_like(candidates)
        apart = (candidates[:, None] - torch.stack(peaks)).abs()
        return apart.amin(1).masked_fill(torch.zeros_like(candidates).scatter(0, apart.argmin(0), 1.0).bool(), 0.0)

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """Raise ConfigError: the selector has no trainable parameters."""
        raise ConfigError("the motion-peaks selector has no trainable parameters; train another selector")
