"""Run stages over a folder: start at any stage, resume exactly, get the same bytes for the same settings.

```
FOLDER/manifest.json          settings, counts, checksums, tokens and cost per stage
FOLDER/cache/STAGE/           completions; may be kept, shared and deleted
FOLDER/01-sampling/00000.jsonl …
FOLDER/questions.json         the result in the released form, with statistics.json; or captions.jsonl
```
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidweave import __version__
from vidweave.contra4.executors import Executor, InProcess, ShardWork
from vidweave.contra4.rows import Row
from vidweave.contra4.schema import question_from_dict, questions_json
from vidweave.contra4.shards import ShardFolder, ShardReport, put
from vidweave.contra4.stage import FileStage, RowStage
from vidweave.contra4.statistics import statistics
from vidweave.errors import ConfigError, PipelineError, UnknownNameError
from vidweave.evaluation.runner import progress_bar
from vidweave.storage import locked
from vidweave.storage.files import remove_scratch

__all__ = ["Pipeline", "RunResult", "run", "usage_of"]

_log = logging.getLogger(__name__)

FORMAT = "vidweave contra4 run"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Pipeline of stages returned by a recipe.

    Attributes:
        name: Name for messages and the manifest.
        stages: Stages in order; the first needs no input rows.
        rows_per_shard: Rows per unit of work, the most that is recomputed after a kill (completions are kept).
        result: What the last stage yields: questions, or captioned media, which can serve as pools (`PoolFile`) of
            another run and as input of the caption baseline.
    """

    name: str
    stages: tuple[RowStage | FileStage, ...]
    rows_per_shard: int = 500
    result: Literal["questions", "captions"] = "questions"

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a pipeline needs at least one stage and unique stage names, got {names}")
        if self.stages[0].scope != "file":
            raise ConfigError(f"the first stage must produce rows itself, but {names[0]!r} needs input rows")
        if self.rows_per_shard < 1:
            raise ConfigError(f"rows_per_shard must be at least 1, got {self.rows_per_shard}")

    def place(self, name: str) -> int:
        """Return the position of a stage; UnknownNameError lists similar names."""
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise UnknownNameError("stage", name, names)
        return names.index(name)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Result of a run: stage entries of the manifest, and the questions or captions file if all stages are done."""

    folder: Path
    stages: tuple[dict[str, Any], ...]
    questions: Path | None = None
    captions: Path | None = None


def run(
    pipeline: Pipeline,
    folder: Path | str,
    *,
    start: str | None = None,
    until: str | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> RunResult:
    """Run all stages, or resume an earlier run in `folder`.

    Args:
        start: Recompute this stage and all later ones, e.g. after changing its settings.
        until: Stop after this stage.
        executor: Executor for the shards; this process by default.
        progress: Show a progress bar on stderr.

    Raises:
        PipelineError: another process uses `folder`; an earlier run there had other settings; a stage kept no rows;
            a file cannot be written.
        EngineError: requests failed for good; completed answers are kept.
        AnnotationError: a row that is not a valid question.
    """
    folder = Path(folder)
    last = pipeline.place(until) if until is not None else len(pipeline.stages) - 1
    if start is not None and pipeline.place(start) > last:
        raise ConfigError(f"stage {start!r} comes after {until!r}, so there is nothing to do")
    with _locked(folder):
        manifest = _Manifest(folder, pipeline)
        manifest.forget_from(pipeline.place(start) if start is not None else len(pipeline.stages))
        work = _Work(folder, manifest, executor or InProcess(), pipeline.rows_per_shard, progress)
        for index, stage in enumerate(pipeline.stages[: last + 1]):
            work.do(index, stage)
        is_whole = last == len(pipeline.stages) - 1
        made = {pipeline.result: _EXPORTS[pipeline.result](folder, work.rows(last))} if is_whole else {}
    return RunResult(folder=folder, stages=tuple(manifest.stages), **made)


class _Work:
    """Run stages in a folder."""

    def __init__(
        self, folder: Path, manifest: _Manifest, executor: Executor, rows_per_shard: int, progress: bool
    ) -> None:
        self.folder, self.manifest, self.executor = folder, manifest, executor
        self.rows_per_shard, self.progress = rows_per_shard, progress

    def do(self, index: int, stage: RowStage | FileStage) -> None:
        """Produce the output of one stage, unless it exists."""
        if self.manifest.is_done(index):
            _log.info("%s: done before", stage.name)
            return
        self.manifest.begin(index)
        reports = list(self._file(index, stage) if isinstance(stage, FileStage) else self._rows(index, stage))
        entry = self.manifest.finish(index, reports)
        _log.info("%s", _sentence(entry))
        if not entry["rows"]:
            self.manifest.reopen(index)
            raise PipelineError(_nothing_left(entry))

    def rows(self, index: int) -> Iterator[Row]:
        """Return the rows of a finished stage."""
        folder = self._folder(index)
        for shard in range(len(self.manifest.stages[index]["shards"])):
            yield from folder.read(shard)

    def _folder(self, index: int) -> ShardFolder:
        return ShardFolder(self.folder / self.manifest.folder_name(index))

    def _file(self, index: int, stage: FileStage) -> Iterator[ShardReport]:
        rows = self.rows(index - 1) if index else iter(())
        with progress_bar(stage.name, 0, show=self.progress) as advance:
            for report in self._folder(index).write_all(stage.run_all(rows), self.rows_per_shard):
                advance(report.rows)
                yield report

    def _rows(self, index: int, stage: RowStage) -> Iterator[ShardReport]:
        before, after = self._folder(index - 1), self._folder(index)
        count = len(self.manifest.stages[index - 1]["shards"])
        reports = {shard: report for shard in range(count) if (report := after.report(shard)) is not None}
        todo = [shard for shard in range(count) if shard not in reports]
        work = ShardWork(stage=stage, source=before.path, target=after.path, cache=self.folder / "cache" / stage.name)
        with progress_bar(stage.name, count, done=len(reports), show=self.progress) as advance:
            for shard, report in self.executor.run(work, todo):
                reports[shard] = report
                advance(1)
        return iter([reports[shard] for shard in range(count)])


class _Manifest:
    """`manifest.json`: started and finished stages with their settings."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.path = folder / "manifest.json"
        self.folder = folder
        self._head = {
            "format": FORMAT,
            "version": VERSION,
            "name": pipeline.name,
            "rows_per_shard": pipeline.rows_per_shard,
        }
        self._settings = [json.loads(json.dumps(stage.describe())) for stage in pipeline.stages]
        self._names = [stage.name for stage in pipeline.stages]
        self.stages: list[dict[str, Any]] = self._read()

    def folder_name(self, index: int) -> str:
        return f"{index + 1:02d}-{self._names[index]}"

    def is_done(self, index: int) -> bool:
        return index < len(self.stages) and self.stages[index]["state"] == "done"

    def begin(self, index: int) -> None:
        """Record that a stage was started, before its first shard."""
        if index == len(self.stages):
            entry = {"name": self._names[index], "settings": self._settings[index], "state": "begun"}
            self.stages.append(entry)
            self._write()

    def finish(self, index: int, reports: Sequence[ShardReport]) -> dict[str, Any]:
        """Record that a stage is finished."""
        tally, usage = Counter(), Counter()
        for report in reports:
            tally.update(report.tally)
            usage.update(report.usage)
        self.stages[index] = {
            **self.stages[index],
            "state": "done",
            "vidweave": __version__,
            "rows": sum(report.rows for report in reports),
            "tally": dict(sorted(tally.items())),
            "usage": dict(usage),
            "shards": [{"rows": report.rows, "sha256": report.sha256} for report in reports],
        }
        self._write()
        return self.stages[index]

    def reopen(self, index: int) -> None:
        """Mark a finished stage as started again, because its result is not usable."""
        self.stages[index] = {key: self.stages[index][key] for key in ("name", "settings")} | {"state": "begun"}
        self._write()

    def forget_from(self, index: int) -> None:
        """Drop a stage and all later ones, then their files; in that order, so that a kill leaves no partial stage."""
        if index < len(self.stages):
            self.stages = self.stages[:index]
            self._write()
        self._check()
        known = {self.folder_name(i) for i in range(len(self.stages))}
        for path in self.folder.glob("[0-9][0-9]-*"):
            if path.name not in known:
                shutil.rmtree(path)
        remove_scratch(self.folder)

    def _read(self) -> list[dict[str, Any]]:
        try:
            data = json.loads(self.path.read_bytes())
            head = {key: data[key] for key in self._head}
            stages = data["stages"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise PipelineError(f"{self.path} is not a run manifest ({error!r}); use another folder") from error
        if head != self._head:
            raise PipelineError(
                f"{self.path} belongs to another run ({_difference(head, self._head)}); use another folder"
            )
        return stages

    def _check(self) -> None:
        for index, entry in enumerate(self.stages):
            now = self._settings[index] if index < len(self._settings) else {}
            if entry["settings"] != now:
                raise PipelineError(
                    f"stage {entry['name']!r} was made with other settings ({_difference(entry['settings'], now)}); "
                    f"recompute it and all later ones with --from {self._names[min(index, len(self._names) - 1)]}, "
                    "or use another folder"
                )

    def _write(self) -> None:
        put(self.path, json.dumps({**self._head, "stages": self.stages}, indent=1).encode() + b"\n")


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        names = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return "; ".join(f"{name}: {_difference(before.get(name), now.get(name))}" for name in names)
    return f"was {before!r}, now {now!r}"


def _sentence(entry: dict[str, Any]) -> str:
    usage = entry["usage"]
    if not usage.get("requests"):
        return f"{entry['name']}: {entry['rows']:,} rows"
    return (
        f"{entry['name']}: {entry['rows']:,} rows, {usage['requests']:,} requests, {usage['input_tokens']:,} tokens in, "
        f"{usage['output_tokens']:,} out, cost {usage['cost']:.2f}"
    )


def _nothing_left(entry: dict[str, Any]) -> str:
    counts = ", ".join(f"{name}: {count:,}" for name, count in entry["tally"].items())
    return (
        f"stage {entry['name']!r} kept no rows"
        + (f" ({counts})" if counts else "")
        + "; relax its settings, or change an earlier stage"
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process."""
    busy = PipelineError(f"{folder} is used by another process; wait for it to finish, or use another folder")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, busy))
        except OSError as error:
            raise PipelineError(f"cannot use the folder {folder}: {error.strerror}") from error
        yield


def _export_questions(folder: Path, rows: Iterator[Row]) -> Path:
    questions = [question_from_dict(row, f"row {row.get('id')!r}") for row in rows]
    path = folder / "questions.json"
    put(path, questions_json(questions))
    put(folder / "statistics.json", json.dumps(statistics(questions), indent=1).encode() + b"\n")
    return path


def _export_captions(folder: Path, rows: Iterator[Row]) -> Path:
    path = folder / "captions.jsonl"
    put(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


_EXPORTS = {"questions": _export_questions, "captions": _export_captions}


def usage_of(result: RunResult) -> dict[str, float]:
    """Sum requests, tokens and cost over all stages."""
    total: Counter[str] = Counter()
    for entry in result.stages:
        total.update(entry.get("usage", {}))
    return dict(total)
