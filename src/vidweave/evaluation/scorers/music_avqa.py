"""MUSIC-AVQA's official score: exact answers, per question type, per modality and overall."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vidweave.errors import AnnotationError
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.scorers.table import Response, ScoreTable, Tally, require_predictions, score

__all__ = ["music_avqa_official", "music_avqa_strict", "music_avqa_type"]

# Names of the official script for each (modality, question type), in its order
_NAMES = {
    ("Audio", "Counting"): "Audio Counting Accuracy",
    ("Audio", "Comparative"): "Audio Cmp Accuracy",
    ("Visual", "Counting"): "Visual Counting Accuracy",
    ("Visual", "Location"): "Visual Loc Accuracy",
    ("Audio-Visual", "Existential"): "AV Ext Accuracy",
    ("Audio-Visual", "Counting"): "AV counting Accuracy",
    ("Audio-Visual", "Location"): "AV Loc Accuracy",
    ("Audio-Visual", "Comparative"): "AV Cmp Accuracy",
    ("Audio-Visual", "Temporal"): "AV Temporal Accuracy",
}
_MODALITIES = {"Audio": "Audio Accuracy", "Visual": "Visual Accuracy", "Audio-Visual": "AV Accuracy"}


def music_avqa_type(text: str) -> str:
    """Parse the field `type`, JSON inside a string, to the name of a group: '["Audio", "Counting"]'.

    Raises:
        AnnotationError: not a pair of a modality and a question type of MUSIC-AVQA.
    """
    try:
        modality, kind = json.loads(text)
        return _NAMES[modality, kind]
    except (ValueError, TypeError, KeyError) as error:
        raise AnnotationError(
            f'MUSIC-AVQA: type {text!r} was not understood, expected a pair such as \'["Audio", "Counting"]\' of '
            f"{', '.join('/'.join(pair) for pair in _NAMES)}"
        ) from error


def music_avqa_official(responses: Sequence[Response[str]]) -> ScoreTable:
    """Score like the official script: exact equality of answers; percentages with two decimals.

    Types are joined by question id. The script joins them by position with a fixed file, which is wrong for the
    corrected release of the annotations; for the original release both are equal.

    Raises:
        PredictionError: a question has no prediction (a classifier over the vocabulary always has one).
        AnnotationError: an unknown question type.
    """
    require_predictions(responses, "music-avqa-official")
    return _with_modalities(_score("music-avqa-official", responses))


def music_avqa_strict(responses: Sequence[Response[str]]) -> ScoreTable:
    """Score by equality, ignoring case, surrounding whitespace, a final period and underscores.

    So "acoustic guitar" matches the annotation's `acoustic_guitar`. A missing prediction is wrong.
    """
    return _with_modalities(_score("music-avqa-strict", responses, is_right=_equal))


def _score(name: str, responses: Sequence[Response[str]], is_right=str.__eq__) -> ScoreTable:
    return score(name, responses, is_right, group=music_avqa_type, groups=list(_NAMES.values()))


def _with_modalities(table: ScoreTable) -> ScoreTable:
    """Add each modality's sum after its question types."""
    groups: dict[str, Tally] = {}
    for modality, name in _MODALITIES.items():
        parts = {part: table.groups[part] for (of, _), part in _NAMES.items() if of == modality}
        total = Tally(
            num_correct=sum(tally.num_correct for tally in parts.values()),
            num_items=sum(tally.num_items for tally in parts.values()),
        )
        groups |= {**parts, name: total}
    groups["Overall Accuracy"] = table.overall
    return ScoreTable(scorer=table.scorer, groups=groups, overall=table.overall, answered=table.answered)


def _equal(prediction: str, answer: str) -> bool:
    return is_correct(prediction.replace("_", " "), answer.replace("_", " "))
