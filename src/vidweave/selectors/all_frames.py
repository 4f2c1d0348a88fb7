"""Select all candidates."""

# Axes: R rows, C candidates

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidweave.errors import ConfigError
from vidweave.selectors.candidates import check_candidates, covered_span
from vidweave.types import ComponentConfig, Features, Selection, TextTokens

__all__ = ["AllFramesSelector", "AllFramesSelectorConfig"]


@dataclass(frozen=True, kw_only=True)
class AllFramesSelectorConfig(ComponentConfig):
    """No settings; the number of frames per stream is limited by its `FrameNeed`."""

    kind: ClassVar[str] = "all_frames"

    def build(self) -> AllFramesSelector:
        return AllFramesSelector()


class AllFramesSelector(nn.Module):
    """Select all candidates, in order."""

    needs_motion = False

    def forward(
        self,
        motion: Features | None,
        text: TextTokens | None,
        candidates: Tensor,
        mask: Tensor,
        *,
        k: int = 0,
        generator: torch.Generator | None = None,
    ) -> Selection:
        """Candidates (R, C) in seconds, mask (R, C) → all of them; `k` is part of the protocol and ignored.

        Raises:
            ShapeError: candidates and mask are not (R, C).
        """
        check_candidates(candidates, mask)
        span = covered_span(candidates, mask)
        return Selection(seconds=candidates, mask=mask, spans=span[:, None], reason="all_frames")

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """Raise ConfigError: the selector has no trainable parameters."""
        raise ConfigError("the all-frames selector has no trainable parameters; train another one or omit its loss")
