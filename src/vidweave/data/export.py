"""Export any data set to JSON lines in vidweave's format, for evaluation and training."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidweave.data.dataset import Dataset
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.storage import write_atomically

__all__ = ["write_examples"]


def write_examples(dataset: Dataset, path: Path) -> int:
    """Write the examples whose media exist; paths are relative to the folder of `path`.

    Returns:
        The number of examples written.

    Raises:
        AnnotationError: A row cannot be read, or media are missing and `missing` is not ``leave_out``.
        ConfigError: Media are outside the folder of `path`, which the format does not support.
    """
    dataset.require_media()
    rows = list(_rows(dataset, path.parent.resolve()))
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8"))
    return len(rows)


def _rows(dataset: Dataset, folder: Path) -> Iterator[dict[str, Any]]:
    for index in range(len(dataset)):
        yield _row(dataset[index], folder)


def _row(example: Example, folder: Path) -> dict[str, Any]:
    clip = example.query.scenes[0].clip
    row: dict[str, Any] = {"id": example.id, **{name: _inside(clip[name], folder, example.id) for name in clip}}
    row["question"] = example.query.text
    if example.query.options:
        row["options"] = list(example.query.options)
    if example.is_labeled:
        texts = list(example.answers) if len(example.answers) > 1 else example.answer
        row["answer"] = example.position if example.query.options else texts
    if example.question_type != "all":
        row["type"] = example.question_type
    if clip.start_seconds is not None:
        row["start"], row["end"] = clip.start_seconds, clip.end_seconds
    elif clip.end_seconds is not None:
        row["start"], row["end"] = 0.0, clip.end_seconds
    return row


def _inside(source: Any, folder: Path, name: str) -> str:
    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(
            f"example {name}: its media are not a file ({type(source).__name__}); vidweave's format needs files"
        )
    path = Path(source).resolve()
    if not path.is_relative_to(folder):
        raise ConfigError(f"example {name}: {source} is outside {folder}; write the file to a folder above the media")
    return path.relative_to(folder).as_posix()
