"""Pseudo labels of spans without temporal annotation, from scores of single frames for the question.

Bootstrapping (VideoTGB, section 3): a base model's scores of single frames are converted to the target span of a
bridge.
"""

# Axes: T candidate frames, Q questions about one clip

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol

from vidweave.data.schema import Example
from vidweave.errors import PredictionError
from vidweave.evaluation.overlap import token_f1, unigram_recall
from vidweave.nn.score_span import largest_rectangle
from vidweave.storage import Journal, changed_settings, read_journal
from vidweave.types import Clip, Query

__all__ = [
    "MEASURES",
    "PseudoLabel",
    "Scorer",
    "ScoreKind",
    "Subtract",
    "label_clips",
    "read_labels",
    "span_seconds",
    "span_share",
]

ScoreKind = Literal["recall", "f1", "likelihood"]
Subtract = Literal["none", "min", "median"]
MEASURES = {"recall": unigram_recall, "f1": token_f1, "likelihood": None}
"""Name of a score → function that compares texts; None does not compare texts."""

FORMAT = "vidweave pseudo labels"


class Scorer(Protocol):
    """Scores single frames; `vidweave.pipelines.frame_scores.FrameScorer` is one."""

    def __call__(
        self, clip: Clip, queries: Sequence[Query], answers: Sequence[str]
    ) -> tuple[list[float], list[list[float]]]:
        """Return times (T,) of the candidates, ascending, and scores (Q, T), none negative."""
        ...

    def describe(self) -> dict[str, Any]:
        """Provenance of the scores."""
        ...


@dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """Pseudo label of one question: its span.

    Attributes:
        id: Id of the example.
        question, answer: The question and its correct answer.
        start, end: Span in seconds.
        seconds, scores: Times and scores (T,) of the candidates.
    """

    id: str
    question: str
    answer: str
    start: float
    end: float
    seconds: tuple[float, ...]
    scores: tuple[float, ...]


def span_seconds(seconds: Sequence[float], scores: Sequence[float], subtract: Subtract = "none") -> tuple[float, float]:
    """Return start and end of the largest rectangle under the scores; a frame extends halfway to its neighbors.

    Args:
        subtract: Value subtracted from all scores first: nothing (InstructBLIP's labels in the paper's code), the
            minimum (BLIP-2's), or the median, with negative results set to 0. Without it, a wide and low rectangle
            would win if most of a clip is unrelated to the question but scores above the worst frame.
    """
    first, last = largest_rectangle(_heights(scores, subtract))
    gaps = [later - earlier for earlier, later in pairwise(seconds)] or [0.0]
    before = gaps[first - 1] if first else gaps[0]
    after = gaps[last] if last < len(seconds) - 1 else gaps[-1]
    return max(0.0, seconds[first] - before / 2), seconds[last] + after / 2


def span_share(label: PseudoLabel, subtract: Subtract = "none") -> float:
    """Return the fraction (0..1) of the sum of the scores, after the subtraction, that lies within the span.

    A label also has high scores elsewhere, and so a small share, if the answer fits several timestamps or the base
    model is unsure; training may exclude it.
    """
    heights = _heights(label.scores, subtract)
    inside = (h for h, second in zip(heights, label.seconds, strict=True) if label.start <= second <= label.end)
    return sum(inside) / (sum(heights) or 1.0)


def _heights(scores: Sequence[float], subtract: Subtract) -> list[float]:
    floor = {"none": lambda _: 0.0, "min": min, "median": median}[subtract](scores)
    return [max(0.0, score - floor) for score in scores]


def label_clips(
    scorer: Scorer,
    examples: Iterable[Example],
    out: Path | str,
    *,
    subtract: Subtract = "min",
    provenance: Mapping[str, Any] | None = None,
) -> Iterator[PseudoLabel]:
    """Label examples, append the labels to the JSON-lines file `out`, and yield all labels.

    The first line is the provenance of the labels; a resumed run continues after the last complete line and scores no
    question twice. Successive examples about one clip share its encoded frames.

    Args:
        subtract: See `span_seconds`.
        provenance: Further facts for the first line, e.g. the data.

    Raises:
        PredictionError: `out` belongs to another run, is locked by another process, or is damaged.
    """
    manifest = {
        "format": FORMAT,
        **scorer.describe(),
        "subtract": subtract,
        **dict(provenance or {}),
    }
    with _LabelFile(Path(out), json.loads(json.dumps(manifest, default=str))) as file:
        for _, group in groupby(examples, key=_clip_key):
            asked = list(group)
            missing = [example for example in asked if example.id not in file.labels]
            if missing:
                file.add(_label(scorer, missing, subtract))
            yield from (file.labels[example.id] for example in asked)


def read_labels(path: Path | str) -> tuple[dict[str, Any], dict[str, PseudoLabel]]:
    """Read the provenance and the labels (by id) of a finished file.

    Raises:
        PredictionError: there is no such file, or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise PredictionError(f"there is no file {path}; create it with `vidweave pseudo-label`")
    header, labels = read_journal(path, parse=_label_from, error=PredictionError, what="label file")
    _check_format(path, header)
    return header, {label.id: label for label in labels}


def _clip_key(example: Example) -> tuple[tuple[str, Any], ...]:
    """Return a key that is equal for examples about one clip: by path or content, carriers by identity."""
    clip = example.query.scenes[0].clip
    return tuple((name, s if isinstance(s, (str, bytes, os.PathLike)) else id(s)) for name, s in sorted(clip.items()))


def _label(scorer: Scorer, examples: Sequence[Example], subtract: Subtract) -> list[PseudoLabel]:
    clip = examples[0].query.scenes[0].clip
    seconds, scores = scorer(clip, [e.query for e in examples], [e.answer for e in examples])
    labels = []
    for example, row in zip(examples, scores, strict=True):
        start, end = span_seconds(seconds, row, subtract)
        labels.append(
            PseudoLabel(
                id=example.id,
                question=example.query.text,
                answer=example.answer,
                start=round(start, 4),
                end=round(end, 4),
                seconds=tuple(round(s, 4) for s in seconds),
                scores=tuple(round(s, 6) for s in row),
            )
        )
    return labels


class _LabelFile:
    """Label file opened for appending, locked by this process."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self._manifest = path, manifest

    def __enter__(self) -> _LabelFile:
        self._journal = Journal(
            self.path, self._manifest, check=self._check, parse=_label_from, error=PredictionError, what="label file"
        )
        self.labels = {label.id: label for label in self._journal.rows}
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def _check(self, recorded: dict[str, Any]) -> None:
        _check_format(self.path, recorded)
        for name, before, now in changed_settings(recorded, self._manifest):
            raise PredictionError(
                f"{self.path} was created with other settings: {name} is {before!r} there, {now!r} here; give another file"
            )

    def add(self, labels: Sequence[PseudoLabel]) -> None:
        self._journal.append([asdict(label) for label in labels])
        self.labels |= {label.id: label for label in labels}


def _label_from(row: dict[str, Any]) -> PseudoLabel:
    return PseudoLabel(**{**row, "seconds": tuple(row["seconds"]), "scores": tuple(row["scores"])})


def _check_format(path: Path, header: Mapping[str, Any]) -> None:
    if header.get("format") != FORMAT:
        raise PredictionError(f"{path}:1 is no {FORMAT}; give a file that pseudo-label wrote")
