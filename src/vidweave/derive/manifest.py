"""Manifest of an output folder: one line per finished clip, so that a killed run can resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from vidweave.errors import PipelineError
from vidweave.storage import Journal

__all__ = ["MANIFEST", "Manifest"]

MANIFEST = "manifest.jsonl"
_FORMAT = "vidweave-derive-1"


class Manifest:
    """`manifest.jsonl` of a folder, held by one process at a time.

    The first line holds the settings; every further line is a clip: `clip` (its name), `source` (size and modification
    time of the file), and `outputs` (paths within the folder), or `error` (why there are none). A later line of a clip
    replaces an earlier one. A line counts once it is complete: one torn by a kill is cut off and its clip is processed
    again.

    Raises:
        PipelineError: the folder was filled with other settings (the message names them), is in use by another
            process, or its manifest is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        settings = json.loads(json.dumps({"format": _FORMAT, **settings}))
        self._journal = Journal(
            folder / MANIFEST, settings, check=self._check(settings), parse=_line, error=PipelineError, what="manifest"
        )
        self.clips: dict[str, dict[str, Any]] = {line["clip"]: line for line in self._journal.rows}

    def is_done(self, clip: str, source: Mapping[str, int]) -> bool:
        """Return whether the clip was made from exactly this file and all its outputs still exist."""
        line = self.clips.get(clip, {})
        outputs = line.get("outputs")
        return bool(outputs) and line["source"] == source and all((self.folder / path).exists() for path in outputs)

    def add(self, clip: str, source: Mapping[str, int], **facts: Any) -> None:
        """Append a clip and force it to disk. Its outputs must already exist."""
        line = {"clip": clip, "source": dict(source), **facts}
        self._journal.append([line])
        self.clips[clip] = line

    def close(self) -> None:
        """Release the folder."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, settings: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
        def check(recorded: Mapping[str, Any]) -> None:
            changed = [key for key in {**recorded, **settings} if recorded.get(key) != settings.get(key)]
            if changed:
                was = ", ".join(f"{key}={recorded.get(key)!r} (now {settings.get(key)!r})" for key in changed)
                raise PipelineError(f"{self.folder} was filled with {was}; choose another --out for other settings")

        return check


def _line(data: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(data["clip"], str):
        raise TypeError(f"clip is {data['clip']!r}")
    return data
