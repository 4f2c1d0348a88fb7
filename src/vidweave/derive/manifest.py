"""The manifest of an output folder: one line per finished clip, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from vidweave.errors import PipelineError

__all__ = ["MANIFEST", "Manifest"]

MANIFEST = "manifest.jsonl"
_FORMAT = "vidweave-derive-1"


class Manifest:
    """`manifest.jsonl` of a folder, held by one process at a time.

    The first line says what is made, with which settings; every further line is a clip: `clip` (its name), `source` (the
    file's size and time of change), and `outputs` (paths within the folder), or `error` (why there are none). A later line
    of a clip replaces an earlier one. A line counts when it ends: one that was torn by a kill is cut off and its clip made
    again.

    Raises:
        PipelineError: the folder was filled with other settings (the message says which), is being filled by another
            process, or its manifest is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.clips: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / MANIFEST).open("a+b")
        try:
            self._lock()
            self._take_up(json.loads(json.dumps({"format": _FORMAT, **settings})))
        except BaseException:
            self._file.close()
            raise

    def is_done(self, clip: str, source: Mapping[str, int]) -> bool:
        """Whether the clip was made from this very file, and all that was made is still there."""
        line = self.clips.get(clip, {})
        outputs = line.get("outputs")
        return bool(outputs) and line["source"] == source and all((self.folder / path).exists() for path in outputs)

    def add(self, clip: str, source: Mapping[str, int], **told: Any) -> None:
        """Enter a clip, and force it to disk. What it names must be there already."""
        line = {"clip": clip, "source": dict(source), **told}
        self._write(line)
        self.clips[clip] = line

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"{self.folder} is being filled by another process; wait for it, or choose another --out"
            ) from None

    def _take_up(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        lines = data[:whole].splitlines()
        if not lines:
            self._write(settings)
            return
        first, *clips = [self._parse(number, line) for number, line in enumerate(lines, 1)]
        changed = [key for key in {**first, **settings} if first.get(key) != settings.get(key)]
        if changed:
            was = ", ".join(f"{key}={first.get(key)!r} (now {settings.get(key)!r})" for key in changed)
            raise PipelineError(f"{self.folder} was filled with {was}; choose another --out for other settings")
        self.clips = {line["clip"]: line for line in clips}

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            data = json.loads(line)
            if not isinstance(data, dict) or (number > 1 and not isinstance(data["clip"], str)):
                raise ValueError
        except (ValueError, KeyError, RecursionError):
            raise PipelineError(
                f"line {number} of {self.folder / MANIFEST} is no manifest line; remove the file to make everything again"
            ) from None
        return data

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
