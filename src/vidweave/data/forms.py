"""File formats shared by several data sets: rows keyed by id, and questions and answers in two files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidweave.data.jsonl import read_json, read_rows
from vidweave.errors import AnnotationError

__all__ = ["KEY", "answers_beside", "joined_rows", "keyed_rows"]

KEY = "_key"  # field with the key of a row that was the value of an object


def keyed_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the rows of a table or list (`read_rows`), or of an object of objects, whose keys become field `KEY`.

    Raises:
        AnnotationError: The file has neither format.
    """
    if path.suffix.lower() != ".json":
        yield from read_rows(path)
        return
    content = read_json(path)
    if not isinstance(content, dict):
        yield from read_rows(path)
        return
    for key, row in content.items():
        where = f"{path.name}, entry {key!r}"
        if not isinstance(row, dict):
            raise AnnotationError(f"{where}: expected an object, got {str(row)[:40]!r}")
        yield where, {KEY: key, **row}


def answers_beside(questions: Path) -> Path | None:
    """Find the answer file beside a question file: ``test_q.json`` → ``test_a.json``; None if there is none."""
    if not questions.stem.endswith("_q"):
        return None
    path = questions.with_name(f"{questions.stem[:-2]}_a{questions.suffix}")
    return path if path.is_file() else None


def joined_rows(questions: Path, answers: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Join questions with their answers by `question_id` as text, never by position.

    Without an answer file, rows are returned unchanged, with their own answers or without.

    Raises:
        AnnotationError: A question has no answer, or two.
    """
    beside = answers or answers_beside(questions)
    if beside is None:
        yield from keyed_rows(questions)
        return
    answer_rows: dict[str, Mapping[str, Any]] = {}
    for where, row in keyed_rows(beside):
        name = _id(row, where)
        if name in answer_rows:
            raise AnnotationError(f"{where}: there are two answers to question {name!r}")
        answer_rows[name] = row
    for where, row in keyed_rows(questions):
        name = _id(row, where)
        if name not in answer_rows:
            raise AnnotationError(f"{where}: {beside.name} has no answer to question {name!r}")
        yield where, {**answer_rows[name], **row}


def _id(row: Mapping[str, Any], where: str) -> str:
    if "question_id" not in row:
        raise AnnotationError(f"{where}: 'question_id' is missing; found {', '.join(sorted(row)) or 'nothing'}")
    return str(row["question_id"])
