"""Score captions with several metrics at once, from raw text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vidweave.errors import UnknownNameError
from vidweave.evaluation.captions.bleu import bleu
from vidweave.evaluation.captions.cider import cider
from vidweave.evaluation.captions.corpus import CaptionScore
from vidweave.evaluation.captions.java_metrics import meteor, spice
from vidweave.evaluation.captions.rouge import rouge_l
from vidweave.evaluation.captions.tokenizer import tokenize, tokenize_all

__all__ = ["CAPTION_METRICS", "score_captions", "selection_value"]

Metric = Callable[[Mapping[str, str], Mapping[str, Sequence[str]]], list[CaptionScore]]

# METEOR and SPICE need the extra `caption-metrics` and Java
CAPTION_METRICS: Mapping[str, Metric] = {
    "bleu": bleu,
    "rouge-l": lambda candidates, references: [rouge_l(candidates, references)],
    "cider": lambda candidates, references: [cider(candidates, references)],
    "meteor": lambda candidates, references: [meteor(candidates, references)],
    "spice": lambda candidates, references: [spice(candidates, references)],
}
_RAW = ("spice",)  # parses whole sentences
_PURE = ("bleu", "rouge-l", "cider")


def score_captions(
    candidates: Mapping[str, str], references: Mapping[str, Sequence[str]], metrics: Sequence[str] = _PURE
) -> list[CaptionScore]:
    """Tokenize captions and references and compute the named metrics, each as a fraction (not times 100).

    Args:
        candidates: Id of a video or segment → its caption, untokenized.
        references: Id → untokenized references.
        metrics: Names in `CAPTION_METRICS`.

    Raises:
        UnknownNameError: no such metric.
        AnnotationError: ids differ, or there are none.
        MissingExtraError, MissingProgramError: METEOR or SPICE without pycocoevalcap or Java.
    """
    for metric in metrics:
        if metric not in CAPTION_METRICS:
            raise UnknownNameError("caption metric", metric, CAPTION_METRICS)
    tokenized = {id: tokenize(text) for id, text in candidates.items()}, tokenize_all(references)
    result = []
    for metric in metrics:
        result += CAPTION_METRICS[metric](*((candidates, references) if metric in _RAW else tokenized))
    return result


def selection_value(scores: Sequence[CaptionScore]) -> float:
    """Return MA-LMM's value for choosing a checkpoint: CIDEr + BLEU-4 + METEOR + ROUGE-L.

    Raises:
        UnknownNameError: one of them was not computed.
    """
    values = {score.metric: score.corpus for score in scores}
    for metric in ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L"):
        if metric not in values:
            raise UnknownNameError("computed caption metric", metric, values)
    return sum(values[metric] for metric in ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L"))
