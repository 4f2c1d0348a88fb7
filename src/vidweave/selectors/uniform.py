"""Select evenly spaced timestamps, regardless of content."""

# Axes: R rows, C candidates, k timestamps

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidweave.errors import ConfigError
from vidweave.selectors.candidates import check_candidates, covered_span
from vidweave.types import ComponentConfig, Features, Selection, TextTokens

__all__ = ["UniformSelector", "UniformSelectorConfig"]


@dataclass(frozen=True, kw_only=True)
class UniformSelectorConfig(ComponentConfig):
    """No settings."""

    kind: ClassVar[str] = "uniform"

    def build(self) -> UniformSelector:
        return UniformSelector()


class UniformSelector(nn.Module):
    """Select k timestamps, each in the middle of one of k equal parts of the span covered by the candidates."""

    needs_motion = False

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
        """Candidates (R, C) in seconds, mask (R, C) → k timestamps per row and their span; deterministic.

        Motion, text and `generator` are ignored. A clip shorter than k candidates gets timestamps between them (the nearest
        frames repeat); a row without candidates gets none.

        Raises:
            ConfigError: k is below 1.
            ShapeError: candidates and mask are not (R, C).
        """
        if k < 1:
            raise ConfigError(f"the uniform selector needs k >= 1, got k={k}")
        check_candidates(candidates, mask)
        span = covered_span(candidates, mask)
        share = (torch.arange(k, dtype=candidates.dtype, device=candidates.device) + 0.5) / k
        seconds = span[:, :1] + share * (span[:, 1:] - span[:, :1])
        has_any = mask.any(1, keepdim=True)
        return Selection(seconds=seconds, mask=has_any.expand(-1, k), spans=span[:, None], reason="uniform")

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """Raise ConfigError: the selector has no trainable parameters."""
        raise ConfigError("the uniform selector has no trainable parameters; train another selector or omit its loss")
