"""Frames where the picture changes most, regardless of the question: needs no model, but decodes the whole clip."""

# Axes: L motion steps, C candidate frames

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import torch

from vidweave.errors import ConfigError
from vidweave.media.limits import Limits
from vidweave.pipelines.frame_selection.timeline import open_candidates, span_of
from vidweave.pipelines.selecting import check_cancelled
from vidweave.selectors.motion_peaks import MotionPeaksSelector
from vidweave.types import Clip, Features, FrameSelection, MotionSpec

__all__ = ["MotionFrames"]

SPEC = MotionSpec(source="frame_differences", fps=4.0, height=32, width=32)
MIN_GAP_SECONDS = 1.0


class MotionFrames:
    """Choose the frames at the k largest changes of brightness, at least a second apart where there are enough.

    Args:
        source: Must be None; it stands for the model of other frame selectors.
    """

    name = "motion_peaks"

    def __init__(self, source: str | Path | None = None, *, device: Any = None, cache_folder: Any = None) -> None:
        if source is not None:
            raise ConfigError(f"the selector 'motion_peaks' takes no model, got {str(source)!r}; leave it out")

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
        began = time.perf_counter()
        with open_candidates(clip, num_frames, limits) as found:
            maps = found.source.read_motion(SPEC, span=span_of(clip))
            candidates, indices = torch.from_numpy(found.seconds)[None], found.indices
        energy = torch.from_numpy(maps.values).flatten(1).norm(dim=1)
        steps = torch.from_numpy(maps.seconds).float()
        row = torch.zeros(1, dtype=torch.int64)
        mask = torch.ones(1, len(energy), 1, dtype=torch.bool)
        motion = Features(energy[None, :, None, None], mask, steps[None], row, row)
        everywhere = torch.ones_like(candidates, dtype=torch.bool)
        chosen = MotionPeaksSelector(MIN_GAP_SECONDS)(motion, None, candidates, everywhere, k=num_frames)
        seconds = sorted(chosen.seconds[0][chosen.mask[0]].tolist())
        at = torch.searchsorted(candidates[0], torch.tensor(seconds, dtype=candidates.dtype))
        return FrameSelection(
            seconds=tuple(seconds),
            indices=tuple(indices[at.numpy()].tolist()),
            reason=self.name,
            notes=tuple(maps.notes),
            costs={"frames_decoded": len(indices), "seconds": time.perf_counter() - began},
        )

    def describe(self) -> dict[str, Any]:
        """See `types.FrameSelector.describe`."""
        return {"selector": self.name, "min_gap_seconds": MIN_GAP_SECONDS, "steps_per_second": SPEC.fps}

    def close(self) -> None:
        """Nothing to write."""
