"""Temporal grounding: find the span of a clip that a question is about, from a model's reply or its selector."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vidweave.data.dataset import Dataset
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.evaluation.span_metrics import best_iou
from vidweave.evaluation.tasks.dataset import DatasetTask
from vidweave.types import Answer, Clip, Query

__all__ = [
    "CORRECT_IOU",
    "SelectedSpans",
    "format_spans",
    "grounding_task",
    "is_grounded",
    "read_spans",
    "target_spans",
]

CORRECT_IOU = 0.5  # of the first span of a reply that counts as right
DEFAULT_FRAMES = 8  # timestamps that a selector chooses
_TIME = r"(?:\d+:)?\d{1,2}:\d{2}(?:\.\d+)?|\d+(?:\.\d+)?"
_UNIT = r"\s*(?:s|sec|secs|second|seconds)?\b\.?\s*"
_SPAN = re.compile(rf"(?<![\d.:])({_TIME}){_UNIT}(?:to|until|till|and|-|–|—|,)\s*({_TIME})(?![\d:])", re.IGNORECASE)
Span = tuple[float, float]


def read_spans(text: str) -> list[Span]:
    """Read the spans of a text in seconds, in order: pairs of times with "to", "until", "and", a dash or a comma between.

    Times are seconds or clock times: "12.5 to 20", "[3, 7.5]", "from 1:05 until 1:30", "between 2 s and 4 s". A pair that ends
    before it starts is no span.
    """
    pairs = [(_seconds(match[1]), _seconds(match[2])) for match in _SPAN.finditer(text)]
    return [(start, end) for start, end in pairs if start <= end]


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def format_spans(spans: Sequence[Span]) -> str:
    """Format spans so that `read_spans` reads the same numbers: "3.5 to 7; 1 to 2"."""
    return "; ".join(f"{_number(start)} to {_number(end)}" for start, end in spans)


def _number(value: float) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text or "0"


def target_spans(example: Example) -> tuple[Span, ...]:
    """The annotated spans of a grounding example; empty for other examples."""
    return tuple(example.query.extra.get("target_spans", ()))


def is_grounded(example: Example, reply: str) -> bool:
    """Whether the first span of a reply has an IoU of at least `CORRECT_IOU` with an annotated span."""
    return best_iou(read_spans(reply)[:1], target_spans(example)) >= CORRECT_IOU


def grounding_task(task: DatasetTask) -> DatasetTask:
    """Turn a data set whose rows have a start and an end into questions for these, about whole clips.

    Options and answers of the rows are not used. Rows without a span are left out, and counted in the notes.

    Raises:
        ConfigError: No row has a span.
    """
    source = task.source
    annotations = list(source.annotations if isinstance(source, Dataset) else source)
    examples = [_grounding_example(a, _whole_clip(source, a)) for a in annotations if a.span is not None]
    if not examples:
        raise ConfigError(
            f"--grounding needs rows with start and end; none of {len(annotations)} rows of {task.name} has them"
        )
    left_out = len(annotations) - len(examples)
    notes = [f"{left_out} of {len(annotations)} rows have no start and end: they are left out"] if left_out else []
    kept = [note for note in task.notes() if "no label" not in note]  # the span is the label
    return DatasetTask(task.name, examples, {**task.settings, "grounding": True}, notes=(*kept, *notes))


def _whole_clip(source: Any, annotation: Example) -> Clip:
    if isinstance(source, Dataset):
        clip = source.clip(replace(annotation, span=None))
        assert clip is not None, "missing media are refused or left out before"
        if source.has_frame_fractions and any(Path(str(path)).is_dir() for path in clip.values()):
            raise ConfigError(
                f"{source.name} {annotation.id}: start and end of folders of frames are fractions; --grounding needs the "
                "video files, whose spans are in seconds"
            )
        return clip
    clip = annotation.query.scenes[0].clip
    return Clip(**clip, fps=clip.fps)


def _grounding_example(annotation: Example, clip: Clip) -> Example:
    assert annotation.span is not None
    text = format_spans([annotation.span])
    asked = replace(
        Query.about(clip, annotation.query.text), extra={**annotation.query.extra, "target_spans": (annotation.span,)}
    )
    return Example(
        id=annotation.id,
        query=asked,
        answer=text,
        question_type=annotation.question_type,
        media=annotation.media,
        facets=annotation.facets,
    )


@runtime_checkable
class Selects(Protocol):
    """A pipeline that selects timestamps and spans, as `SlotPipeline.select`."""

    def select(self, clip: Clip, question: str, *, num_frames: int) -> Mapping[str, Any]:
        """Return at least `spans`: mappings with `start`, `end` and `score`; a uniform selector returns the whole clip."""
        ...


class SelectedSpans:
    """Answers with the spans that a pipeline's selector finds, best first.

    Args:
        pipeline: Its `select` is asked; nothing is decoded for the encoders and no answer is generated.

    Raises:
        ConfigError: The pipeline selects nothing.
    """

    def __init__(self, pipeline: Any) -> None:
        if not isinstance(pipeline, Selects):
            raise ConfigError(
                f"{type(pipeline).__name__} has no selector; use --grounding reply, or a model with a bridge"
            )
        self._pipeline = pipeline

    def describe(self) -> dict[str, Any]:
        """The pipeline's description."""
        return {**self._pipeline.describe(), "grounding": "select"}  # type: ignore[attr-defined]

    def answer(self, queries: Sequence[Query], *, num_frames: int = DEFAULT_FRAMES, **decoding: Any) -> list[Answer]:
        """Return the spans of each query as text (`format_spans`).

        Raises:
            ConfigError: Further arguments, which do nothing.
        """
        if decoding:
            raise ConfigError(f"{', '.join(decoding)} would do nothing: spans are selected, not generated")
        return [Answer(self._spans(query, num_frames)) for query in queries]

    def _spans(self, query: Query, num_frames: int) -> str:
        selection = self._pipeline.select(query.scenes[0].clip, query.text, num_frames=num_frames)
        spans = [(float(span["start"]), float(span["end"]), span.get("score")) for span in selection["spans"]]
        spans.sort(key=lambda span: -(span[2] if span[2] is not None and isfinite(span[2]) else 0.0))
        return format_spans([(start, end) for start, end, _ in spans])
