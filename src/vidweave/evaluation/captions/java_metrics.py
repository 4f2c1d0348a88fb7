"""METEOR and SPICE, computed by the original Java programs (extra `caption-metrics`)."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.errors import EngineError, MissingExtraError, MissingProgramError
from vidweave.evaluation.captions.corpus import CaptionScore, check_ids

__all__ = ["meteor", "spice"]


def meteor(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionScore:
    """Compute METEOR 1.5 of tokenized captions; the corpus value aggregates counts and is not the mean of the items.

    The Java program takes about 20 seconds to start.

    Args:
        candidates: Id → tokenized caption.
        references: Id → tokenized references.

    Raises:
        AnnotationError: ids differ, or there are none.
        MissingExtraError: pycocoevalcap is not installed.
        MissingProgramError: Java is not installed.
        EngineError: the Java program failed.
    """
    corpus, scores = _compute("METEOR", "pycocoevalcap.meteor.meteor", "Meteor", candidates, references)
    each = {id: float(score) for id, score in zip(references, scores, strict=True)}
    return CaptionScore(metric="METEOR", corpus=float(corpus), each=each)


def spice(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionScore:
    """Compute SPICE of captions, which should not be tokenized; the corpus value is the mean.

    On first use pycocoevalcap downloads the Stanford models it needs.

    Args:
        candidates: Id → caption.
        references: Id → references.

    Raises:
        AnnotationError: ids differ, or there are none.
        MissingExtraError: pycocoevalcap is not installed.
        MissingProgramError: Java is not installed.
        EngineError: the Java program failed, or its models could not be downloaded.
    """
    # the original returns items in the order of sorted ids
    ids = sorted(references)
    ordered = {id: references[id] for id in ids}
    corpus, scores = _compute("SPICE", "pycocoevalcap.spice.spice", "Spice", candidates, ordered)
    each = {id: float(score["All"]["f"]) for id, score in zip(ids, scores, strict=True)}
    return CaptionScore(metric="SPICE", corpus=float(corpus), each=each)


def _compute(
    metric: str, module: str, scorer: str, candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> Any:
    check_ids(candidates, references)
    try:
        make = getattr(importlib.import_module(module), scorer)
    except ImportError as error:
        raise MissingExtraError("pycocoevalcap", "caption-metrics", metric) from error
    if shutil.which("java") is None:
        raise MissingProgramError(
            f"{metric} runs a Java program and java is not on the PATH; install Java 8 or later, or leave {metric} out "
            "(BLEU, ROUGE-L and CIDEr need no Java)"
        )
    try:
        texts = {id: list(references[id]) for id in references}
        return make().compute_score(texts, {id: [candidates[id]] for id in references})
    except (OSError, ValueError, AssertionError, RuntimeError) as error:
        raise EngineError(f"the Java program of {metric} failed ({type(error).__name__}: {error})") from error
