"""Making something of every clip of a folder: in parallel, with progress, and never twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vidweave.derive.manifest import Manifest
from vidweave.errors import ConfigError, MediaNotFoundError, VidweaveError

__all__ = ["ARRAYS", "VIDEOS", "Job", "WorkReport", "find_clips", "work"]

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".gif")
ARRAYS = (".npy",)


class Job(Protocol):
    """What is made of a clip."""

    def settings(self) -> Mapping[str, Any]:
        """All that decides what is made, as JSON data; a folder holds what was made with equal settings."""
        ...

    def run(self, source: Path, name: str, out: Path) -> Mapping[str, Any]:
        """Make it, whole or not at all → `outputs` (paths within `out`) and whatever else the manifest should tell.

        `name` is the clip's name within the folder: make files of that name, in folders of that name. Runs in a thread.
        """
        ...


@dataclass
class WorkReport:
    """Clips that were made now, that were there already, and that failed: name → reason."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def find_clips(sources: Iterable[str | os.PathLike[str]], suffixes: Sequence[str] = VIDEOS) -> dict[str, Path]:
    """Name → file, sorted, of files as they are and of all files below folders that end with one of `suffixes`; the name
    is the path below the folder without its ending.

    Raises:
        MediaNotFoundError: a source that is not there, or nothing at all.
        ConfigError: two files of one name.
    """
    found: dict[str, Path] = {}
    for source in map(Path, sources):
        for name, path in sorted(_below(source, suffixes).items()):
            if found.setdefault(name, path) != path:
                raise ConfigError(f"{found[name]} and {path} would both become {name!r}; extract them into two folders")
    if not found:
        raise MediaNotFoundError(f"there is no clip; give files, or folders that hold some ({', '.join(suffixes)})")
    return found


def _below(source: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    if not source.is_dir():
        if not source.exists():
            raise MediaNotFoundError(f"there is no file {source}")
        return {source.stem: source}
    paths = (path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    hidden = (path for path in paths if not any(part.startswith(".") for part in path.relative_to(source).parts))
    return {path.relative_to(source).with_suffix("").as_posix(): path for path in hidden}


def work(
    job: Job,
    clips: Mapping[str, Path],
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    progress: Callable[[str], None] = lambda name: None,
) -> WorkReport:
    """Run `job` on every clip that the manifest of `out` does not hold as done.

    Whatever happens to the process, what the manifest names is there and whole, and the next call goes on with the rest. A
    clip that cannot be read is entered with its error, does not stop the others, and is tried again by the next call.

    Args:
        job: What is made; its settings must equal those that the folder was filled with.
        clips: Name → file, see `find_clips`.
        out: Made if it is not there.
        workers: Clips at a time, in threads (decoding and models run outside Python's lock).
        progress: Called with the name of each clip that is done with.

    Raises:
        PipelineError: see `Manifest`. ConfigError: no worker.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    out, report = Path(out), WorkReport()
    with Manifest(out, job.settings()) as manifest, ThreadPoolExecutor(workers, thread_name_prefix="derive") as pool:
        waiting: dict[Future[Mapping[str, Any]], tuple[str, dict[str, int]]] = {}
        try:
            for name, path in clips.items():
                source = _stamp(path)
                if manifest.is_done(name, source):
                    report.kept.append(name)
                    progress(name)
                    continue
                waiting[pool.submit(job.run, path, name, out)] = (name, source)
                if len(waiting) >= 2 * workers:
                    _collect(waiting, manifest, report, progress)
            while waiting:
                _collect(waiting, manifest, report, progress)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return report


def _collect(
    waiting: dict[Future[Mapping[str, Any]], tuple[str, dict[str, int]]],
    manifest: Manifest,
    report: WorkReport,
    progress: Callable[[str], None],
) -> None:
    """Enter the clips that are done; waits for one at least."""
    done: Sequence[Future[Mapping[str, Any]]] = list(wait(waiting, return_when=FIRST_COMPLETED).done)
    for future in done:
        name, source = waiting.pop(future)
        try:
            manifest.add(name, source, **future.result())
            report.made.append(name)
        except VidweaveError as error:
            report.failed[name] = str(error)
            manifest.add(name, source, error=str(error))
        progress(name)


def _stamp(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"bytes": found.st_size, "changed_ns": found.st_mtime_ns}
