"""Forms that several data sets share: rows keyed by id, and questions and answers in two files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidweave.data.jsonl import read_json, read_rows
from vidweave.errors import AnnotationError

__all__ = ["KEY", "answers_beside", "joined_rows", "keyed_rows"]

KEY = "_key"  # field of a row that came as the value of an object: its key there


def keyed_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a table or list (`read_rows`), or of an object of objects, whose keys become the field `KEY`.

    Raises:
        AnnotationError: neither form.
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
    """The file of answers beside a file of questions: ``test_q.json`` → ``test_a.json``; None if there is none."""
    if not questions.stem.endswith("_q"):
        return None
    path = questions.with_name(f"{questions.stem[:-2]}_a{questions.suffix}")
    return path if path.is_file() else None


def joined_rows(questions: Path, answers: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of questions with the fields of their answers, joined by `question_id` as text; never by position.

    Without a file of answers the rows are what they are: with answers of their own, or without any.

    Raises:
        AnnotationError: a question without an answer, or two answers to one question.
    """
    beside = answers or answers_beside(questions)
    if beside is None:
        yield from keyed_rows(questions)
        return
    found: dict[str, Mapping[str, Any]] = {}
    for where, row in keyed_rows(beside):
        name = _id(row, where)
        if name in found:
            raise AnnotationError(f"{where}: there are two answers to question {name!r}")
        found[name] = row
    for where, row in keyed_rows(questions):
        name = _id(row, where)
        if name not in found:
            raise AnnotationError(f"{where}: {beside.name} has no answer to question {name!r}")
        yield where, {**found[name], **row}


def _id(row: Mapping[str, Any], where: str) -> str:
    if "question_id" not in row:
        raise AnnotationError(f"{where}: 'question_id' is missing; found {', '.join(sorted(row)) or 'nothing'}")
    return str(row["question_id"])
