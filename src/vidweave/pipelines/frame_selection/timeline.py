"""Frames of a clip's video that a selector may choose from."""

# Axes: N frames of the file, C candidate frames inside the clip's span

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from vidweave.errors import MediaError, ModalityError
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.open import OpenSource, open_clip
from vidweave.media.plan import frames_inside
from vidweave.types import Clip, PrecomputedFeatures

__all__ = ["Candidates", "open_candidates", "span_of"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """An opened video, and its frames inside the span of the clip.

    Attributes:
        source: The opened video.
        seconds: (C,) times of the frames, ascending.
        indices: (C,) their indices in the file.
    """

    source: OpenSource
    seconds: np.ndarray
    indices: np.ndarray

    @property
    def span(self) -> tuple[float, float]:
        """Times of the first and the last frame."""
        return float(self.seconds[0]), float(self.seconds[-1])

    def keyframes(self) -> np.ndarray:
        """Positions of frames that are cheap to decode alone, ascending."""
        keys = self.source.keyframes()
        return np.flatnonzero(np.isin(self.indices, keys))


def span_of(clip: Clip) -> tuple[float, float] | None:
    """Start and end of a clip in seconds; None where it has no span."""
    if clip.start_seconds is None and clip.end_seconds is None:
        return None
    return clip.start_seconds or 0.0, np.inf if clip.end_seconds is None else clip.end_seconds


@contextmanager
def open_candidates(clip: Clip, num_frames: int, limits: Limits | None = None) -> Iterator[Candidates]:
    """Open the clip's video and index it; nothing is decoded.

    Raises:
        ModalityError: the clip has no video, or one that is given as features.
        MediaError: the video cannot be read, or has fewer frames than `num_frames` in the clip's span.
    """
    if "video" not in clip or isinstance(clip["video"], PrecomputedFeatures):
        given = "features of a video" if "video" in clip else ", ".join(clip)
        raise ModalityError(f"a frame selector needs a video with frames, the clip has {given}; leave out the selector")
    with open_clip(clip, "video", limits=DEFAULT_LIMITS if limits is None else limits) as source:
        seconds, duration = source.timeline()
        first, stop, _ = frames_inside(seconds, duration, span_of(clip))
        indices = np.arange(first, stop)
        if num_frames < 1:
            raise MediaError(f"at least 1 frame must be requested, got {num_frames}")
        if num_frames > len(indices):
            raise MediaError(
                f"{num_frames} frames were requested, the video has {len(indices)} in the chosen span; request at most "
                f"{max(1, len(indices))}"
            )
        yield Candidates(source, seconds[indices], indices)
