"""What media an example shows, by content: so that a run is not continued over other clips."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from vidweave.data.schema import Example
from vidweave.media import content_hash
from vidweave.types import Clip

__all__ = ["MediaHashes", "changed"]


class MediaHashes:
    """Content hashes of the files that examples show; each file is read once.

    Every byte counts (SHA-256). Size and date would take a replaced clip for the old one if it was copied with its date,
    and a moved folder for a new one; a sample of the bytes would overlook an edit between the samples. Hashing costs one
    read of each file, far less than decoding it, and is what the feature cache does too.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, example: Example) -> dict[str, str]:
        """``LABEL/MODALITY`` → hash, with the span of the clip if it has one; only media that are files or folders.

        Media in memory are left out: what made them is described by the task.
        """
        found = {}
        for scene in example.query.scenes:
            for modality, path in _files(scene.clip):
                name = f"{scene.label}/{modality}" if scene.label else modality
                found[name] = f"{self._hash(path)}{_span(scene.clip)}"
        return found

    def _hash(self, path: str) -> str:
        if path not in self._known:
            self._known[path] = content_hash(path)
        return self._known[path]


def changed(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the media that differ."""
    return [name for name in sorted({*recorded, *now}) if recorded.get(name) != now.get(name)]


def _files(clip: Clip) -> Iterator[tuple[str, str]]:
    """Modality and path of what lies on disk; answerers that read captions alone get names of no file."""
    for modality, source in clip.items():
        if isinstance(source, (str, os.PathLike)) and os.path.exists(source):
            yield modality, os.fspath(source)


def _span(clip: Clip) -> str:
    if clip.start_seconds is None and clip.end_seconds is None:
        return ""
    ends: tuple[Any, Any] = clip.start_seconds, clip.end_seconds
    return "@" + "..".join("" if end is None else f"{end:g}" for end in ends)
