"""Prediction files: one JSON line per item, appended as answers arrive, so that an interrupted run can resume.

The first line is the manifest of the run (task, model, settings); a run with another manifest cannot use the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from vidweave.data.schema import Example
from vidweave.errors import PredictionError
from vidweave.storage import Journal, changed_settings, read_journal
from vidweave.types import Answer

__all__ = ["Prediction", "PredictionFile", "read_predictions"]

FORMAT = "vidweave evaluation predictions"
VERSION = 2
READABLE = (1, VERSION)  # version 1 did not store the media


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answered item: the question, the media and the answer.

    Attributes:
        id, question_type, question, options, answer, facets: The item.
        prompt: Prompt of the language model, if the model reports it (`panels["prompt"]` of its trace).
        frames: Frames used: stream, index and timestamp in seconds of each.
        output: The answer's text.
        scores: Log-probability of each option, in the order of `options`; None if the model gave none.
        correct: Whether the output is correct.
        media: Content hashes of the media files (`evaluation.shown_media`): scene and modality → hash.
        alternatives: Further beams, best first, where several were kept.
    """

    id: str
    question_type: str
    question: str
    options: tuple[str, ...]
    answer: str
    prompt: str | None
    frames: tuple[Mapping[str, Any], ...]
    output: str
    scores: tuple[float | None, ...]
    correct: bool
    facets: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example, answer: Answer, *, correct: bool, media: Mapping[str, str] | None = None) -> Self:
        """Build the prediction of one answered example; `media` as returned by `MediaHashes.of`."""
        trace = answer.trace
        scores = {option.text: option.score for option in answer.options}
        frames = [asdict(use) for use in trace.frames] if trace else []
        panel = trace.panels.get("prompt") if trace else None
        return cls(
            id=example.id,
            question_type=example.question_type,
            question=example.query.text,
            options=tuple(example.query.options),
            answer=example.answer,
            prompt=panel if isinstance(panel, str) else None,
            frames=tuple({name: use[name] for name in ("stream", "index", "pts_seconds")} for use in frames),
            output=answer.text,
            scores=tuple(scores.get(option) for option in example.query.options),
            correct=correct,
            facets=dict(example.facets),
            media=dict(media or {}),
            alternatives=answer.alternatives,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a prediction from JSON data; raises TypeError for anything but a mapping with exactly these fields."""
        if not isinstance(data, Mapping):
            raise TypeError(f"expected an object, got {data!r}")
        lists = {name: tuple(data.get(name, ())) for name in ("options", "frames", "scores", "alternatives")}
        return cls(**{**data, **lists})


class PredictionFile:
    """A prediction file opened for appending; use it in a ``with`` block.

    An incomplete last line of a killed process is removed, and that item is answered again, so every finished item has
    exactly one prediction. The file is locked: only one process at a time may use it.

    Args:
        path: File path; created, with its folder, if it does not exist.
        manifest: JSON data that describes the run; must equal that of an existing file.

    Attributes:
        predictions: Item id → prediction, in the order of the file.

    Raises:
        PredictionError: The file belongs to another run (the message lists the differences), is locked by another process,
            is damaged before its last line, or cannot be written.
    """

    def __init__(self, path: Path | str, manifest: Mapping[str, Any]) -> None:
        self.path = Path(path)
        manifest = _plain(manifest)
        self._journal = Journal(
            self.path,
            {"format": FORMAT, "version": VERSION, "manifest": manifest},
            check=lambda header: _check(header, manifest, self.path),
            parse=_once(Prediction.from_dict),
            error=PredictionError,
            what="prediction file",
        )
        self.predictions: dict[str, Prediction] = {prediction.id: prediction for prediction in self._journal.rows}

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Append predictions and flush them to disk.

        Raises:
            PredictionError: An item is already recorded, or writing failed; then none of `predictions` is kept.
        """
        new = {prediction.id: prediction for prediction in predictions}
        repeated = sorted(new.keys() & self.predictions.keys())
        if repeated or len(new) < len(predictions):
            raise PredictionError(f"{self.path}: {repeated[0] if repeated else 'an item'!r} would be recorded twice")
        self._journal.append([asdict(prediction) for prediction in predictions])
        self.predictions.update(new)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_predictions(path: Path | str) -> tuple[dict[str, Any], list[Prediction]]:
    """Read the manifest and the finished predictions of a file without changing it (an incomplete last line is skipped).

    Raises:
        PredictionError: The file does not exist or is damaged.
    """
    path = Path(path)
    header, predictions = read_journal(
        path, parse=_once(Prediction.from_dict), error=PredictionError, what="prediction file"
    )
    _check_format(header, path)
    return header["manifest"], predictions


def _once(parse: Callable[[Mapping[str, Any]], Prediction]) -> Callable[[Mapping[str, Any]], Prediction]:
    """Wrap `parse` to raise ValueError for repeated items."""
    seen: set[str] = set()

    def parse_new(data: Mapping[str, Any]) -> Prediction:
        prediction = parse(data)
        if prediction.id in seen:
            raise ValueError(f"it repeats item {prediction.id!r}")
        seen.add(prediction.id)
        return prediction

    return parse_new


def _check_format(header: Mapping[str, Any], path: Path) -> None:
    named = (header.get("format"), header.get("version"))
    if named[0] != FORMAT or named[1] not in READABLE or "manifest" not in header:
        raise PredictionError(
            f"{path} is not a prediction file (format {named[0]!r} version {named[1]!r}); move it away or use another name"
        )


def _check(header: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Check that the file belongs to this run; raises PredictionError."""
    _check_format(header, path)
    changed = changed_settings(header["manifest"], now)
    if changed:
        differences = "; ".join(f"{name}: recorded {before!r}, now {after!r}" for name, before, after in changed)
        raise PredictionError(
            f"{path} belongs to another run ({differences}); use another file, or delete it to start over"
        )
    if header["version"] != VERSION:
        raise PredictionError(
            f"{path} was written by an older version, which did not record the media, so it "
            "cannot be resumed (it can still be compared); use another file"
        )


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Convert to the values that JSON restores."""
    try:
        return json.loads(json.dumps(manifest))
    except (TypeError, ValueError) as error:
        raise PredictionError(f"the manifest of a run must be plain JSON data: {error}") from error
