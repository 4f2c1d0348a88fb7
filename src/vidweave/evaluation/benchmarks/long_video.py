"""Scores of LVU: per clip (MA-LMM's rule) and per video (LVU's own)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from vidweave.data.lvu_clips import video_of
from vidweave.evaluation.benchmarks.outcome import Outcome
from vidweave.evaluation.benchmarks.scoring import Score
from vidweave.evaluation.scorers.lvu_clips import score_clips, score_videos
from vidweave.evaluation.scorers.table import Response, score

__all__ = ["lvu"]


def lvu(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score exact labels of clips (MA-LMM) and of videos (LVU), and strictly of all clips.

    A video's class is the one with the largest sum of clip probabilities if options were scored by likelihood; if
    labels were generated, it is the label of most clips (the first one on a tie).
    """
    labels = {video_of(o.example.id): o.example.answer for o in outcomes}
    written = {o.example.id: o.reply for o in outcomes if o.reply is not None}
    strict = [
        Response(id=o.example.id, question_type=o.example.question_type, answer=o.example.answer, prediction=o.reply)
        for o in outcomes
    ]
    clips = score("lvu-clips-strict", strict, lambda text, label: text.strip().casefold() == label.casefold())
    return [score_clips(labels, written), _videos(outcomes, labels), clips]


def _videos(outcomes: Sequence[Outcome], labels: Mapping[str, str]) -> Score:
    replied = [o for o in outcomes if o.reply is not None]
    if replied and all(_is_scored(o) for o in replied):
        classes = replied[0].example.query.options
        return score_videos(labels, classes, {o.example.id: _probabilities(o) for o in replied})
    votes: dict[str, Counter[str]] = {video: Counter() for video in labels}
    for outcome in replied:
        votes[video_of(outcome.example.id)][str(outcome.reply)] += 1
    responses = [
        Response(
            id=video,
            question_type="all",
            answer=label,
            prediction=votes[video].most_common(1)[0][0] if votes[video] else None,
        )
        for video, label in labels.items()
    ]
    return score("lvu-videos-by-vote", responses, str.__eq__)


def _is_scored(outcome: Outcome) -> bool:
    return bool(outcome.scores) and None not in outcome.scores


def _probabilities(outcome: Outcome) -> list[float]:
    scores = [float(score) for score in outcome.scores if score is not None]
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]
