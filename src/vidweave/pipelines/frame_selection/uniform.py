"""Evenly spaced frames, regardless of the question: the baseline of every other frame selector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

from vidweave.errors import ConfigError
from vidweave.media.limits import Limits
from vidweave.media.plan import spread
from vidweave.pipelines.frame_selection.timeline import open_candidates
from vidweave.pipelines.selecting import check_cancelled
from vidweave.types import Clip, FrameSelection, ScoredSpan

__all__ = ["UniformFrames"]


class UniformFrames:
    """Choose the middle frame of each of k equal parts of the clip; decodes nothing.

    Args:
        source: Must be None; it stands for the model of other frame selectors.
    """

    name = "uniform"

    def __init__(self, source: str | Path | None = None, *, device: Any = None, cache_folder: Any = None) -> None:
        if source is not None:
            raise ConfigError(f"the selector 'uniform' takes no model, got {str(source)!r}; leave it out")

    def select(
        self,
        clip: Clip,
        question: str,
        *,
        num_frames: int,
        options: Sequence[str] = (),
        limits: Limits | None = None,
        cancel: Event | None = None,
    ) -> FrameSelection:
        """See `types.FrameSelector.select`; question and options are ignored."""
        check_cancelled(cancel)
        with open_candidates(clip, num_frames, limits) as candidates:
            chosen = spread(num_frames, len(candidates.seconds))
            start, end = candidates.span
        return FrameSelection(
            seconds=tuple(candidates.seconds[chosen].tolist()),
            indices=tuple(candidates.indices[chosen].tolist()),
            reason=self.name,
            spans=(ScoredSpan(start=start, end=end),),
        )

    def describe(self) -> dict[str, Any]:
        """See `types.FrameSelector.describe`."""
        return {"selector": self.name}

    def close(self) -> None:
        """Nothing to write."""
