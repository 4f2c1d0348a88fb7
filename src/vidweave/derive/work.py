"""Run a job on every clip of a folder: in parallel, with progress, and resumable."""

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
    """Job that derives files from a clip."""

    def settings(self) -> Mapping[str, Any]:
        """Return everything that determines the output, as JSON data; all outputs in a folder have equal settings."""
        ...

    def run(self, source: Path, name: str, out: Path) -> Mapping[str, Any]:
        """Write the outputs atomically; return `outputs` (paths within `out`) and other entries for the manifest.

        `name` is the clip's name within the folder, used for files and subfolders. Runs in a thread.
        """
        ...


@dataclass
class WorkReport:
    """Clips processed now, clips skipped because they were done, and failed clips: name → reason."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def find_clips(sources: Iterable[str | os.PathLike[str]], suffixes: Sequence[str] = VIDEOS) -> dict[str, Path]:
    """Find clips: files as given, and all files below folders that end with one of `suffixes`; name → file, sorted.

    The name is the path below the folder without its suffix.

    Raises:
        MediaNotFoundError: a source that does not exist, or no clip at all.
        ConfigError: two files with the same name.
    """
    clips: dict[str, Path] = {}
    for source in map(Path, sources):
        for name, path in sorted(_below(source, suffixes).items()):
            if clips.setdefault(name, path) != path:
                raise ConfigError(f"{clips[name]} and {path} would both become {name!r}; extract them into two folders")
    if not clips:
        raise MediaNotFoundError(
            f"no clips were found; give files, or folders that contain some ({', '.join(suffixes)})"
        )
    return clips


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
    """Run `job` on every clip that is not done according to the manifest of `out`.

    After a kill at any point, everything named in the manifest exists and is complete, and the next call resumes with the
    rest. A clip that cannot be read is entered with its error, does not stop the others, and is retried by the next call.

    Args:
        job: The job; its settings must equal those with which the folder was filled.
        clips: Name → file, see `find_clips`.
        out: Output folder, created if needed.
        workers: Clips processed at a time, in threads (decoding and models release the GIL).
        progress: Called with the name of each finished clip.

    Raises:
        PipelineError: see `Manifest`. ConfigError: `workers` below 1.
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
    """Enter finished clips in the manifest; waits for at least one."""
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
    info = path.stat()
    return {"bytes": info.st_size, "changed_ns": info.st_mtime_ns}
