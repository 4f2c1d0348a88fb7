"""Content hashes of an example's media, so that a run does not resume with changed clips."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from vidweave.data.schema import Example
from vidweave.media import content_hash
from vidweave.types import Clip

__all__ = ["MediaHashes", "changed"]


class MediaHashes:
    """Content hashes of the media files of examples; each file is read once.

    The hash covers every byte (SHA-256). Size and date would miss a replaced clip with the same date and reject a moved
    folder; sampled bytes would miss edits in between. Hashing reads each file once, which is much cheaper than decoding,
    and the feature cache does the same.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, example: Example) -> dict[str, str]:
        """Map ``LABEL/MODALITY`` to a hash, with the span of the clip if it has one; only for files and folders.

        Media in memory are skipped: the task describes them.
        """
        hashes = {}
        for scene in example.query.scenes:
            for modality, path in _files(scene.clip):
                name = f"{scene.label}/{modality}" if scene.label else modality
                hashes[name] = f"{self._hash(path)}{_span(scene.clip)}"
        return hashes

    def _hash(self, path: str) -> str:
        if path not in self._known:
            self._known[path] = content_hash(path)
        return self._known[path]


def changed(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the names of the media that differ."""
    return [name for name in sorted({*recorded, *now}) if recorded.get(name) != now.get(name)]


def _files(clip: Clip) -> Iterator[tuple[str, str]]:
    """Yield modality and path of the sources on disk; caption-only answerers have names without files."""
    for modality, source in clip.items():
        if isinstance(source, (str, os.PathLike)) and os.path.exists(source):
            yield modality, os.fspath(source)


def _span(clip: Clip) -> str:
    if clip.start_seconds is None and clip.end_seconds is None:
        return ""
    ends: tuple[Any, Any] = clip.start_seconds, clip.end_seconds
    return "@" + "..".join("" if end is None else f"{end:g}" for end in ends)
