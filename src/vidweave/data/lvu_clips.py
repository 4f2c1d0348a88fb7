"""Split LVU videos into clips, and sample the frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vidweave.errors import AnnotationError

__all__ = ["FPS", "HISTORY_SECONDS", "STRIDE_SECONDS", "LvuClip", "clip_frames", "lvu_clips", "video_of"]

HISTORY_SECONDS = 100
STRIDE_SECONDS = 20
FPS = 10  # of the extracted frames


@dataclass(frozen=True, kw_only=True)
class LvuClip:
    """A segment of a video in whole seconds; both ends are included.

    Attributes:
        key: `<video>_<start>`.
    """

    key: str
    video: str
    start: int
    end: int


def lvu_clips(
    durations: Mapping[str, int], *, history: int = HISTORY_SECONDS, stride: int = STRIDE_SECONDS
) -> list[LvuClip]:
    """Split videos into overlapping clips of `history` seconds, sorted by key as text ("v_100" before "v_20").

    The first clip always begins at 0, even in a shorter video; later ones begin every `stride` seconds as long as a
    whole clip fits.

    Args:
        durations: Duration of each video in whole seconds.

    Raises:
        AnnotationError: A duration is below 0.
    """
    clips = []
    for video, duration in durations.items():
        if duration < 0:
            raise AnnotationError(f"LVU video {video!r} has duration {duration}, expected 0 s or more")
        for start in (0, *range(stride, duration - history + 1, stride)):
            end = min(start + history - 1, duration)
            clips.append(LvuClip(key=f"{video}_{start}", video=video, start=start, end=end))
    return sorted(clips, key=lambda clip: clip.key)


def clip_frames(clip: LvuClip, num_frames: int, *, num_samples: int = HISTORY_SECONDS, fps: int = FPS) -> list[int]:
    """Return 0-based frame indices, evenly spaced over the clip; the last is at most `num_frames` - 1.

    Ties round to the even index, as in the original.
    """
    last = min(clip.end * fps, num_frames - 1)
    return np.rint(np.linspace(clip.start * fps, last, num_samples)).astype(int).tolist()


def video_of(key: str) -> str:
    """Return the video of a clip's key; video names may contain underscores."""
    return key.rpartition("_")[0]
