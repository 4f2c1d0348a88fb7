"""Check a data set before a run: rows, ids, answers, and the media of every recording."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidweave.data.dataset import Dataset, Row
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError, MediaError, MediaNotFoundError, PredictionError, VidweaveError
from vidweave.media.open import open_source
from vidweave.storage import Journal

__all__ = ["KINDS", "Finding", "Health", "check_dataset"]

Kind = Literal[
    "unreadable row",
    "answer outside options",
    "duplicate id",
    "missing media",
    "undecodable media",
    "short media",
    "frame count",
    "span past the end",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
_FILE_COUNTS = ("frame_count",)  # of the video file
_FOLDER_COUNTS = ("num_frames_actual", "frame_length", "num_frames")  # of frames extracted at the data set's rate
_ANSWER = re.compile(r"answer (is (-?\d|empty)|.* is not among the options|\d+ is neither an option)")
_TOLERANCE_SECONDS = 1.0  # of spans and durations, which annotations round


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem of a data set.

    Attributes:
        where: Id of the example, name of the recording, or location in the file.
        detail: The problem, and the expected value.
    """

    kind: Kind
    where: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Health:
    """All findings, and the number of checked examples and recordings."""

    num_examples: int
    num_recordings: int
    findings: tuple[Finding, ...] = ()
    num_known: int = field(default=0)

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind, for kinds that occur."""
        counts = Counter(finding.kind for finding in self.findings)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "num_examples": self.num_examples,
            "num_recordings": self.num_recordings,
            "num_known": self.num_known,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True, kw_only=True)
class _Media:
    """Frame count and duration of a file or folder of frames; `error` is the reason why it cannot be decoded."""

    num_frames: int = 0
    seconds: float = 0.0
    is_folder: bool = False
    error: str = ""


def check_dataset(
    dataset: Dataset,
    *,
    journal: Path | None = None,
    num_workers: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Health:
    """Read every row, and decode the beginning and end of every recording in parallel.

    Args:
        journal: JSON-lines file of checked media, by path, size and date; an interrupted check resumes from it.
        num_workers: Number of threads; None is one per processor.
        progress: Called with 1 after each new recording.

    Raises:
        MediaNotFoundError: The annotation file does not exist.
        PredictionError: `journal` is a file of another kind.
    """
    findings: list[Finding] = []
    rows = list(_rows(dataset, findings))
    findings += _duplicates(dataset, [example for _, example in rows])
    recordings: dict[str, list[tuple[Row, Example]]] = {}
    for row, example in rows:
        recordings.setdefault(example.media or example.id, []).append((row, example))
    files = {name: dataset.sources(members[0][1]) for name, members in recordings.items()}
    for name, sources in files.items():
        if not sources:
            detail = f"no file for {len(recordings[name])} examples, the first is {recordings[name][0][1].id}"
            findings.append(Finding(kind="missing media", where=name, detail=detail))
    todo = {(name, modality): source for name, sources in files.items() for modality, source in sources.items()}
    media, num_known = _inspect(todo, dataset.folder_fps, journal, num_workers, progress)
    for (name, modality), info in media.items():
        findings += _media_findings(name, modality, info, recordings[name])
    order = {kind: number for number, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    return Health(num_examples=len(rows), num_recordings=len(recordings), findings=tuple(findings), num_known=num_known)


# ---- rows


def _rows(dataset: Dataset, findings: list[Finding]) -> Iterator[tuple[Row, Example]]:
    """Iterate over the readable rows; unreadable rows and truncated files are added to `findings`."""
    rows = dataset.rows()
    while True:
        try:
            where, row = next(rows)
        except StopIteration:
            return
        except MediaNotFoundError:
            raise
        except (AnnotationError, KeyError, TypeError, ValueError) as error:
            findings.append(Finding(kind="unreadable row", where=Path(dataset.data).name, detail=str(error)))
            return
        try:
            yield row, dataset.read(row, where)
        except VidweaveError as error:
            kind: Kind = "answer outside options" if _ANSWER.search(str(error)) else "unreadable row"
            findings.append(Finding(kind=kind, where=where, detail=str(error)))


def _duplicates(dataset: Dataset, examples: Iterable[Example]) -> Iterator[Finding]:
    for name, count in Counter(example.id for example in examples).items():
        if count > 1:
            detail = f"{count} rows of {Path(dataset.data).name} have this id"
            yield Finding(kind="duplicate id", where=name, detail=detail)


# ---- media


def _inspect(
    todo: Mapping[tuple[str, str], Any],
    fps: float | None,
    journal: Path | None,
    num_workers: int | None,
    progress: Callable[[int], object],
) -> tuple[dict[tuple[str, str], _Media], int]:
    """Check each file; return the results and how many were in the journal already."""
    cache = _MediaJournal(journal)
    try:
        stamps = {key: _stamp(source) for key, source in todo.items()}
        results = {key: cache.known[stamps[key]] for key in todo if stamps[key] in cache.known}
        num_known = len(results)
        new = [key for key in todo if key not in results]
        with ThreadPoolExecutor(num_workers or os.cpu_count() or 1) as pool:
            for key, media in zip(new, pool.map(lambda key: _probe(todo[key], key[1], fps), new), strict=True):
                results[key] = media
                cache.add(stamps[key], media)
                progress(1)
    finally:
        cache.close()
    return {key: results[key] for key in todo}, num_known


class _MediaJournal:
    """Journal of checked media; keeps nothing without a path."""

    def __init__(self, path: Path | None) -> None:
        self.known: dict[str, _Media] = {}
        self._journal = None
        if path is not None:
            header = {"format": "vidweave data check", "version": 1}
            self._journal = Journal(
                path,
                header,
                check=self._check(header, path),
                parse=self._parse,
                error=PredictionError,
                what="check file",
            )

    @staticmethod
    def _check(header: Mapping[str, Any], path: Path) -> Callable[[dict[str, Any]], None]:
        def check(existing: dict[str, Any]) -> None:
            if existing != header:
                raise PredictionError(f"{path} is not a file of a data check; use another name")

        return check

    def _parse(self, row: dict[str, Any]) -> None:
        self.known[row["stamp"]] = _Media(**row["media"])

    def add(self, stamp: str, media: _Media) -> None:
        """Add a result; sources without a stamp are checked each time."""
        if self._journal is not None and stamp:
            self._journal.append([{"stamp": stamp, "media": asdict(media)}])

    def close(self) -> None:
        """Close the file."""
        if self._journal is not None:
            self._journal.close()


def _stamp(source: Any) -> str:
    """Path, size and date of a file or folder; empty for a source in memory."""
    if not isinstance(source, (str, os.PathLike)):
        return ""
    stat = os.stat(source)
    return f"{os.path.abspath(source)} {stat.st_size} {stat.st_mtime_ns}"


def _probe(source: Any, modality: str, fps: float | None) -> _Media:
    """Open a source and decode its first and last frame, or all of its audio."""
    is_folder = isinstance(source, (str, os.PathLike)) and os.path.isdir(source)
    try:
        with open_source(source, modality, fps=fps if is_folder else None) as opened:
            if opened.carrier == "frames":
                times, duration = opened.timeline()
                opened.read_frames(sorted({0, len(times) - 1}))
                lost = f"{opened.num_lost} of 2 frames cannot be decoded" if opened.num_lost else ""
                return _Media(num_frames=len(times), seconds=float(duration), is_folder=is_folder, error=lost)
            if opened.carrier == "waveform":
                wave = opened.read_waveform(_RATE)
                return _Media(seconds=len(wave.samples) / wave.sample_rate)
            opened.read_points() if opened.carrier == "points" else opened.read_features()
            return _Media()
    except (MediaError, VidweaveError, OSError) as error:
        return _Media(error=str(error))


_RATE = 16_000


def _media_findings(
    name: str, modality: str, media: _Media, members: Sequence[tuple[Row, Example]]
) -> Iterator[Finding]:
    if media.error:
        yield Finding(kind="undecodable media", where=name, detail=f"{modality}: {media.error}")
        return
    if modality not in ("video", "audio"):
        return
    row = members[0][0]
    duration = _number(row, ("duration",))
    if duration is not None and media.seconds < duration - _TOLERANCE_SECONDS:
        detail = f"{modality} lasts {media.seconds:.1f} s, the annotation says {duration:g} s"
        yield Finding(kind="short media", where=name, detail=detail)
    expected = _number(row, _FOLDER_COUNTS if media.is_folder else _FILE_COUNTS)
    if modality == "video" and expected is not None and expected != media.num_frames:
        detail = f"{media.num_frames} frames, the annotation says {expected:g}"
        yield Finding(kind="frame count", where=name, detail=detail)
    for _, example in members:
        if example.span is not None and example.span[1] > media.seconds + _TOLERANCE_SECONDS:
            detail = f"{name}: the span ends at {example.span[1]:g} s, the {modality} at {media.seconds:.1f} s"
            yield Finding(kind="span past the end", where=example.id, detail=detail)


def _number(row: Row, names: Sequence[str]) -> float | None:
    for name in names:
        try:
            return float(row[name])
        except (KeyError, TypeError, ValueError):
            continue
    return None
