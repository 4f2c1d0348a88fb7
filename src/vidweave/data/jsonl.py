"""Annotation files written by others, as JSON, JSON lines or CSV: every complaint with file and place."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidweave.errors import AnnotationError, MediaNotFoundError, MissingExtraError

__all__ = ["expect", "read_json", "read_jsonl", "read_rows", "read_table"]

MAX_LINE_CHARS = 1_000_000
MAX_BYTES = 2 * 2**30  # of a JSON file, which is read whole


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per line that is not blank; `where` is ``FILE:LINE``, for messages.

    Raises:
        MediaNotFoundError: there is no such file.
        AnnotationError: a line that is not a JSON object, not UTF-8, or over-long.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), b""), start=1):
            where = f"{path}:{number}"
            if len(line) == MAX_LINE_CHARS:
                raise AnnotationError(f"{where}: the line is longer than {MAX_LINE_CHARS} bytes")
            if line.strip():
                yield where, _object(line, where)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        MediaNotFoundError: there is no such file.
        AnnotationError: it is no JSON, or larger than MAX_BYTES.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise AnnotationError(f"{path} has more than {MAX_BYTES:,} bytes; split it")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not JSON ({error})") from error


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per row of a list in JSON, of JSON lines (.jsonl), or of a table (.csv, .tsv, .parquet).

    Cells of a table are texts, and stay what they are: "None" and "NA" are no missing values.

    Raises:
        MediaNotFoundError: there is no such file.
        AnnotationError: not this format; a row that is no object, or has another number of cells than the header.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from read_jsonl(path)
    elif suffix in (".csv", ".tsv"):
        yield from read_table(path, "," if suffix == ".csv" else "\t")
    elif suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise AnnotationError(f"{path} holds a {type(rows).__name__}, a list of objects was expected")
        for number, row in enumerate(rows):
            where = f"{path.name}, object {number}"
            if not isinstance(row, dict):
                raise AnnotationError(f"{where}: expected an object, got {str(row)[:40]!r}")
            yield where, row


def read_table(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per row of a table with a header, whose cells are texts.

    Raises:
        MediaNotFoundError: there is no such file.
        AnnotationError: not UTF-8, or a row with another number of cells than the header.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter=delimiter, strict=True), start=1):
                where = f"{path.name}, row {number}"
                if None in row or None in row.values():
                    raise AnnotationError(f"{where}: it has another number of cells than the header")
                yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} is not a table in UTF-8 ({error})") from error


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a Parquet file, a batch at a time; empty cells are left out."""
    if not path.is_file():
        raise MediaNotFoundError(f"there is no file {path}")
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale", f"reading {path.name}") from error
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    yield f"{path.name}, row {number}", {key: value for key, value in row.items() if value is not None}
                    number += 1
    except (ArrowException, OSError) as error:
        raise AnnotationError(f"{path} is not a Parquet file ({error})") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected a JSON object, got {line[:40]!r}")
    return value


def expect(data: Mapping[str, Any], where: str, **types: type) -> list[Any]:
    """The named values of `data`, in order; raises AnnotationError for one that is missing or of another type."""
    for name, wanted in types.items():
        if name not in data:
            raise AnnotationError(f"{where}: {name!r} is missing; found {', '.join(sorted(data)) or 'nothing'}")
        if not isinstance(data[name], wanted):
            raise AnnotationError(f"{where}: {name!r} must be {wanted.__name__}, got {data[name]!r}")
    return [data[name] for name in types]
