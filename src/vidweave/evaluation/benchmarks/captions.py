"""Caption metrics of a benchmark: BLEU, ROUGE-L and CIDEr over all clips, and over those with a caption."""

from __future__ import annotations

from collections.abc import Sequence

from vidweave.data.audiocaps import QUESTION
from vidweave.evaluation.benchmarks.outcome import Outcome
from vidweave.evaluation.benchmarks.scoring import Score, Values, open_answers
from vidweave.evaluation.captions.score import score_captions

__all__ = ["JAVA_METRICS", "captions", "captions_or_answers", "captions_with"]

PURE_METRICS = ("bleu", "rouge-l", "cider")
JAVA_METRICS = ("meteor", "spice")


def captions(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score captions with the metrics that need no Java."""
    return captions_with(outcomes, PURE_METRICS)


def captions_or_answers(outcomes: Sequence[Outcome]) -> list[Score]:
    """Score AudioCaps: captions if clips have several, exact match if rows are questions and answers."""
    is_caption = any(o.example.query.text == QUESTION for o in outcomes)
    return captions(outcomes) if is_caption else open_answers(outcomes)


def captions_with(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[Score]:
    """Compute the named metrics times 100, over all clips (a missing caption is empty) and over those with a caption.

    Raises:
        MissingExtraError, MissingProgramError: METEOR or SPICE without pycocoevalcap or Java.
    """
    references = {o.example.id: o.example.accepted for o in outcomes}
    result = {o.example.id: o.reply for o in outcomes if o.reply is not None}
    everything = {name: result.get(name, "") for name in references}
    scores: list[Score] = [_values("captions", everything, references, metrics, "a missing caption is empty")]
    if result and len(result) < len(references):
        covered = {name: references[name] for name in result}
        note = "only clips with a caption; CIDEr weights words by the set, so this is another scale"
        scores.append(_values("captions-answered", result, covered, metrics, note))
    return scores


def _values(
    name: str,
    candidates: dict[str, str],
    references: dict[str, tuple[str, ...]],
    metrics: Sequence[str],
    note: str,
) -> Values:
    scores = score_captions(candidates, references, metrics)
    values = {score.metric: 100.0 * score.corpus for score in scores}
    return Values(scorer=name, values=values, note=f"times 100, over {len(references)} clips; {note}")
