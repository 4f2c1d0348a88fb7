"""Clips of an LVU video, their frames, and scores per clip (MA-LMM) and per video (LVU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidweave.errors import AnnotationError, RecordError
from vidweave.evaluation.scorers.table import ScoreTable, Tally

__all__ = ["LvuClip", "clip_frames", "lvu_clips", "score_clips", "score_videos", "video_of"]

HISTORY_SECONDS = 100
STRIDE_SECONDS = 20
FPS = 10  # of the extracted frames


@dataclass(frozen=True, kw_only=True)
class LvuClip:
    """A part of a video, in whole seconds; both ends are included.

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
    """Cut videos into overlapping clips of `history` seconds, sorted by key as text ("v_100" before "v_20").

    The first clip always begins at 0, even in a shorter video; later ones begin every `stride` seconds as long as a
    whole clip fits.

    Args:
        durations: Video → whole seconds.

    Raises:
        AnnotationError: a duration below 0.
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
    """Return the video of a clip's key; video names may hold underscores."""
    return key.rpartition("_")[0]


def score_clips(answers: Mapping[str, str], predictions: Mapping[str, str]) -> ScoreTable:
    """Score as MA-LMM does: every clip counts by itself, texts must be equal.

    Args:
        answers: Video → class.
        predictions: Clip key → predicted class.
    """
    marks = [prediction == _answer(answers, key) for key, prediction in predictions.items()]
    overall = Tally(num_correct=sum(marks), num_items=len(marks))
    defects = ("long videos have more clips and so weigh more", "a clip without a prediction leaves the denominator")
    return ScoreTable(scorer="lvu-clips", groups={}, overall=overall, answered=overall, defects=defects)


def score_videos(
    answers: Mapping[str, str], classes: Sequence[str], probabilities: Mapping[str, Sequence[float]]
) -> ScoreTable:
    """Score as LVU does: sum the class probabilities of a video's clips and take the largest; all videos count.

    Args:
        answers: Video → class.
        classes: Names of the classes.
        probabilities: Clip key → probability of each class.

    Raises:
        RecordError: a clip has another number of probabilities than there are classes.
    """
    sums: dict[str, np.ndarray] = {}
    for key, row in probabilities.items():
        if len(row) != len(classes):
            raise RecordError(f"clip {key!r} has {len(row)} probabilities for {len(classes)} classes")
        _answer(answers, key)
        sums[video_of(key)] = sums.get(video_of(key), np.zeros(len(classes))) + np.asarray(row, dtype=float)
    right = sum(classes[int(total.argmax())] == answers[video] for video, total in sums.items())
    return ScoreTable(
        scorer="lvu-videos",
        groups={},
        overall=Tally(num_correct=right, num_items=len(answers)),
        answered=Tally(num_correct=right, num_items=len(sums)),
    )


def _answer(answers: Mapping[str, str], key: str) -> str:
    if video_of(key) not in answers:
        raise AnnotationError(f"clip {key!r} belongs to no annotated video; keys are <video>_<start>")
    return answers[video_of(key)]
