"""First stage: read captioned media, from our own file format or from files of the published sources."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from vidweave.contra4.rows import Row
from vidweave.contra4.schema import check_modality, read_objects
from vidweave.contra4.stage import described
from vidweave.data.jsonl import expect
from vidweave.errors import AnnotationError, ConfigError, MediaNotFoundError, MissingExtraError

__all__ = ["PoolFile", "Pools", "clean_caption"]

Format = Literal["rows", "audiocaps", "clotho", "coco", "msrvtt", "pointllm"]

_LINE = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")


def clean_caption(text: str) -> str:
    """Return one line without control characters, so that a caption cannot start a new scene or example in a prompt."""
    return _LINE.sub(" ", text).strip()


@dataclass(frozen=True, kw_only=True)
class PoolFile:
    """A file of captioned media.

    Attributes:
        path: Path of the file.
        modality: Modality of its media; entries of `rows` files may give it instead.
        format: ``rows`` is JSON lines or a JSON list of ``{source, id, caption, url, meta}``; the others are the
            caption files of AudioCaps (CSV), Clotho (CSV), COCO 2017 (JSON), MSR-VTT (parquet, as in the mirror
            ``AlexZigma/msr-vtt``) and PointLLM's brief descriptions (JSON).
        source: Collection name in the result; the format's own by default.
        raw: Keep captions unchanged, as published; otherwise line breaks and control characters become a space.
    """

    path: str
    modality: str | None = None
    format: Format = "rows"
    source: str | None = None
    raw: bool = False

    def rows(self) -> Iterator[Row]:
        """Yield pool rows in file order.

        Raises:
            MediaNotFoundError: the file does not exist.
            AnnotationError: an entry with missing or invalid fields, or with an empty caption.
            MissingExtraError: a parquet file, without pyarrow.
        """
        path = Path(self.path)
        if not path.is_file():
            raise MediaNotFoundError(f"there is no file {path}")
        for where, row in _READERS[self.format](path, self.source or self.format):
            texts = row["caption"] if self.raw else [clean_caption(text) for text in row["caption"]]
            if not texts or not texts[0].strip():
                raise AnnotationError(f"{where}: the caption is empty; every medium needs one")
            modality = check_modality(self.modality or row.get("modality"), where)
            yield {**row, "modality": modality, "caption": texts}

    def describe(self) -> dict[str, Any]:
        path = Path(self.path)
        if not path.is_file():
            raise MediaNotFoundError(f"there is no file {path}")
        digest = sha256(path.read_bytes()).hexdigest()
        return {
            "sha256": digest,
            "modality": self.modality,
            "format": self.format,
            "source": self.source,
            "raw": self.raw,
        }


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Settings of the stage: files, read one after the other."""

    name: ClassVar[str] = "pools"
    scope: ClassVar[str] = "file"
    files: tuple[PoolFile, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("a pipeline needs at least one file of captioned media")

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        for file in self.files:
            yield from file.rows()

    def describe(self) -> dict[str, Any]:
        return described(self)


Entries = Iterator[tuple[str, Row]]


def _own(path: Path, source: str) -> Entries:
    for where, data in read_objects(path):
        (collection,) = expect({"source": source, **data}, where, source=str)
        if not isinstance(data.get("id"), (str, int)):
            raise AnnotationError(f"{where}: 'id' must be a string or an integer, got {data.get('id')!r}")
        caption = data.get("caption")
        texts = [caption] if isinstance(caption, str) else caption
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise AnnotationError(f"{where}: 'caption' must be a string or a list of strings, got {caption!r}")
        extra = {key: data[key] for key in ("modality", "url", "meta") if key in data}
        yield where, {"source": collection, "id": data["id"], "caption": texts, **extra}


def _audiocaps(path: Path, source: str) -> Entries:
    for where, line in _table(path, "audiocap_id", "youtube_id", "start_time", "caption"):
        name, start = (_whole(line, key, where) for key in ("audiocap_id", "start_time"))
        yield (
            where,
            {
                "source": source,
                "id": name,
                "url": f"https://www.youtube.com/watch?v={line['youtube_id']}",
                "meta": {"start_time": start, "end_time": start + 10},
                "caption": [line["caption"]],
            },
        )


def _clotho(path: Path, source: str) -> Entries:
    names = [f"caption_{i}" for i in range(1, 6)]
    for where, line in _table(path, "file_name", *names):
        yield (
            where,
            {
                "source": source,
                "id": line["file_name"],
                "url": None,
                "meta": {},
                "caption": [line[name] for name in names],
            },
        )


def _coco(path: Path, source: str) -> Entries:
    data = _document(path)
    images, annotations = expect(data, str(path), images=list, annotations=list)
    urls: dict[int, Any] = {}
    for number, entry in enumerate(images, start=1):
        (image,) = expect(_object(entry, f"{path}: image {number}"), f"{path}: image {number}", id=int)
        urls[image] = entry.get("coco_url")
    for number, entry in enumerate(annotations, start=1):
        where = f"{path}: annotation {number}"
        image, caption = expect(_object(entry, where), where, image_id=int, caption=str)
        yield where, {"source": source, "id": image, "url": urls.get(image), "meta": {}, "caption": [caption]}


def _msrvtt(path: Path, source: str) -> Entries:
    columns = {"video_id": str, "caption": str, "url": str, "start time": float, "end time": float}
    for number, entry in enumerate(_parquet(path, columns), start=1):
        where = f"{path}: row {number}"
        name, caption, url, start, end = expect(entry, where, **columns)
        times = {"start_time": start, "end_time": end}
        yield where, {"source": source, "id": name, "url": url, "meta": times, "caption": [caption]}


def _pointllm(path: Path, source: str) -> Entries:
    data = _document(path)
    if not isinstance(data, list):
        raise AnnotationError(f"{path}: expected a JSON list of descriptions, got {str(data)[:40]!r}")
    for number, entry in enumerate(data, start=1):
        where = f"{path}: entry {number}"
        name, turns = expect(_object(entry, where), where, object_id=str, conversations=list)
        if not turns or not isinstance(turns[-1], dict):
            raise AnnotationError(f"{where}: 'conversations' has no turn with a caption")
        (caption,) = expect(turns[-1], where, value=str)
        url = f"https://sketchfab.com/models/{name}/embed"
        yield where, {"source": source, "id": name, "url": url, "meta": {}, "caption": [caption]}


_READERS: Mapping[str, Callable[[Path, str], Entries]] = {
    "rows": _own,
    "audiocaps": _audiocaps,
    "clotho": _clotho,
    "coco": _coco,
    "msrvtt": _msrvtt,
    "pointllm": _pointllm,
}


def _table(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise AnnotationError(f"{path} has no column {missing[0]!r}; it has {', '.join(reader.fieldnames or ())}")
        for line in reader:
            where = f"{path}:{reader.line_num}"
            if any(line[name] is None for name in columns):
                raise AnnotationError(f"{where}: the line has too few columns")
            yield where, line


def _whole(line: Mapping[str, str], name: str, where: str) -> int:
    try:
        return int(line[name])
    except ValueError:
        raise AnnotationError(f"{where}: {name!r} must be an integer, got {line[name]!r}") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected a JSON object, got {str(value)[:40]!r}")
    return value


def _parquet(path: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Read the given columns of a parquet file as rows."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "scale", "reading the captions of MSR-VTT") from None
    try:
        file = parquet.ParquetFile(path)
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise AnnotationError(f"{path} has no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
        return file.read(columns=list(columns)).to_pylist()
    except ArrowException as error:
        raise AnnotationError(f"{path}: not a readable parquet file ({error})") from error


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON ({error})") from error
