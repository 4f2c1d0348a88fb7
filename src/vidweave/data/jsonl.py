"""Read annotation files as JSON, JSON lines, CSV or Parquet; errors name the file and location."""

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
        MediaNotFoundError: The file does not exist.
        AnnotationError: A line is not a JSON object, not UTF-8, or too long.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), b""), start=1):
            where = f"{path}:{number}"
            if len(line) == MAX_LINE_CHARS:
                raise AnnotationError(f"{where}: the line is longer than {MAX_LINE_CHARS} bytes")
            if line.strip():
                yield where, _object(line, where)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MediaNotFoundError: The file does not exist.
        AnnotationError: The file is not JSON, or larger than MAX_BYTES.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise AnnotationError(f"{path} has more than {MAX_BYTES:,} bytes; split it")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not JSON ({error})") from error


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per row of a JSON list, of JSON lines (.jsonl), or of a table (.csv, .tsv, .parquet).

    Table cells stay strings: "None" and "NA" are not treated as missing values.

    Raises:
        MediaNotFoundError: The file does not exist.
        AnnotationError: The file has another format, a row is not an object, or its number of cells differs from the
            header's.
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
            raise AnnotationError(f"{path} contains a {type(rows).__name__}, expected a list of objects")
        for number, row in enumerate(rows):
            where = f"{path.name}, object {number}"
            if not isinstance(row, dict):
                raise AnnotationError(f"{where}: expected an object, got {str(row)[:40]!r}")
            yield where, row


def read_table(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) per row of a table with a header; cells are strings.

    Raises:
        MediaNotFoundError: The file does not exist.
        AnnotationError: The file is not UTF-8, or the number of cells of a row differs from the header's.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter=delimiter, strict=True), start=1):
                where = f"{path.name}, row {number}"
                if None in row or None in row.values():
                    raise AnnotationError(f"{where}: the number of cells differs from the header")
                yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} is not a table in UTF-8 ({error})") from error


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a Parquet file batch by batch, without empty cells."""
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist")
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
    """Return the named values of `data` in order; raises AnnotationError if one is missing or has another type."""
    for name, expected in types.items():
        if name not in data:
            raise AnnotationError(f"{where}: {name!r} is missing; found {', '.join(sorted(data)) or 'nothing'}")
        if not isinstance(data[name], expected):
            raise AnnotationError(f"{where}: {name!r} must be {expected.__name__}, got {data[name]!r}")
    return [data[name] for name in types]
