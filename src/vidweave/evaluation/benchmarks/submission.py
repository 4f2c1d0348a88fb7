"""Write the replies of a run: one JSON line per question, and the format of a benchmark's server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidweave.data.schema import Example
from vidweave.evaluation.benchmarks.outcome import chosen_position
from vidweave.evaluation.predictions import Prediction
from vidweave.storage import write_atomically

__all__ = ["write_submission"]


def write_submission(
    name: str, path: Path, examples: Sequence[Example], predictions: Sequence[Prediction], parser: str = "vidweave"
) -> dict[str, str]:
    """Write `path` (JSON lines: id, media, question, prediction, choice) and, if the benchmark has a submission format,
    a file in that format beside it.

    Returns:
        The written files: `replies` and `submission` → path.
    """
    known = {example.id: example for example in examples}
    rows = [_row(known[prediction.id], prediction, parser) for prediction in predictions]
    _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    written = {"replies": str(path)}
    if name in _FORMS:
        form, suffix = _FORMS[name]
        beside = path.with_name(f"{path.stem}.submission{suffix}")
        _write(beside, form(rows))
        written["submission"] = str(beside)
    return written


def _row(example: Example, prediction: Prediction, parser: str) -> dict[str, Any]:
    choice = chosen_position(example, prediction.output, prediction.scores, parser) if example.query.options else None
    return {
        "id": example.id,
        "media": example.media,
        "question": example.query.text,
        "prediction": prediction.output,
        "choice": choice,
    }


def _vlep(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per question: ``{"example_id": int, "pred_ans": 0 | 1}``; a reply that chooses nothing is 0."""
    lines = ({"example_id": _number(row["id"]), "pred_ans": row["choice"] or 0} for row in rows)
    return "".join(json.dumps(line) + "\n" for line in lines)


def _nextqa(rows: Sequence[Mapping[str, Any]]) -> str:
    """``{"<video>_<qid>": {"prediction": position}}``, the format of the official script."""
    return json.dumps({row["id"].partition("_")[2]: {"prediction": row["choice"]} for row in rows}, indent=1)


def _by_id(rows: Sequence[Mapping[str, Any]]) -> str:
    """``[{"question_id", "answer"}]``, the format of ActivityNet-QA and the judges' scripts."""
    return json.dumps([{"question_id": row["id"], "answer": row["prediction"]} for row in rows], indent=1)


def _captions(rows: Sequence[Mapping[str, Any]]) -> str:
    """``[{"image_id", "caption"}]``, COCO's format of results."""
    return json.dumps([{"image_id": row["id"], "caption": row["prediction"]} for row in rows], indent=1)


def _number(name: str) -> int | str:
    last = name.rpartition("_")[2]
    return int(last) if last.isdigit() else name


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode("utf-8"))


_FORMS: Mapping[str, tuple[Callable[[Sequence[Mapping[str, Any]]], str], str]] = {
    "vlep": (_vlep, ".jsonl"),
    "nextqa": (_nextqa, ".json"),
    "activitynet-qa": (_by_id, ".json"),
    "msvd-qa": (_by_id, ".json"),
    "msrvtt-qa": (_by_id, ".json"),
    "tgif-qa": (_by_id, ".json"),
    "msvd-caption": (_captions, ".json"),
    "msrvtt-caption": (_captions, ".json"),
    "youcook2-caption": (_captions, ".json"),
}
