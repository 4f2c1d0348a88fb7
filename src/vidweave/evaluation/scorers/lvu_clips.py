"""Scores of LVU per clip (MA-LMM) and per video (LVU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vidweave.data.lvu_clips import video_of
from vidweave.errors import AnnotationError, PredictionError
from vidweave.evaluation.scorers.table import ScoreTable, Tally

__all__ = ["score_clips", "score_videos"]


def score_clips(answers: Mapping[str, str], predictions: Mapping[str, str]) -> ScoreTable:
    """Score like MA-LMM: every clip counts separately, texts must be equal.

    Args:
        answers: Video → class.
        predictions: Clip key → predicted class.
    """
    marks = [prediction == _answer(answers, key) for key, prediction in predictions.items()]
    overall = Tally(num_correct=sum(marks), num_items=len(marks))
    defects = (
        "long videos have more clips and so more weight",
        "a clip without a prediction is excluded from the denominator",
    )
    return ScoreTable(scorer="lvu-clips", groups={}, overall=overall, answered=overall, defects=defects)


def score_videos(
    answers: Mapping[str, str], classes: Sequence[str], probabilities: Mapping[str, Sequence[float]]
) -> ScoreTable:
    """Score like LVU: sum the class probabilities of a video's clips and take the largest; all videos count.

    Args:
        answers: Video → class.
        classes: Names of the classes.
        probabilities: Clip key → probability of each class.

    Raises:
        PredictionError: the number of probabilities of a clip differs from the number of classes.
    """
    sums: dict[str, np.ndarray] = {}
    for key, row in probabilities.items():
        if len(row) != len(classes):
            raise PredictionError(f"clip {key!r} has {len(row)} probabilities for {len(classes)} classes")
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
