"""Folder of a feature store: its files, and how pairs of them are added and removed.

::

    store.json            what this folder is
    shards/NAME.safetensors    tensors of many entries
    index/NAME.json            what they are and where; an entry exists when its index does
    scratch/              files being written

No lock is needed: every file is written once, under a name unique to its writer, appears atomically by a rename and is
never changed. A shard is written before its index and removed after it. A killed process can therefore only leave a
scratch file or a shard without index; both only take space.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidweave.errors import StoreError
from vidweave.media.store.shard import FORMAT_VERSION
from vidweave.storage.files import read_bounded, write_atomically

__all__ = ["StoreFolder"]

MARK = {"format": "vidweave feature store", "version": FORMAT_VERSION}
GRACE_SECONDS = 3_600.0
PARTS = ("shards", "index", "scratch")


class StoreFolder:
    """Paths and file operations under `root`.

    Raises:
        StoreError: `root` is a file, another kind of folder, of another format version, or cannot be made.
    """

    def __init__(self, root: Path, *, create: bool) -> None:
        self.root = root
        self._writer, self._pid, self._count = "", 0, 0
        try:
            self._open(create)
        except OSError as error:
            raise StoreError(f"cannot use {root} as a feature store: {error.strerror or error}") from error

    def _open(self, create: bool) -> None:
        mark = self.root / "store.json"
        if mark.exists():
            return self._check_mark(mark)
        if not create:
            raise StoreError(f"there is no feature store at {self.root}")
        foreign = {p.name for p in self.root.iterdir()} - {*PARTS, mark.name} if self.root.exists() else set()
        if foreign:
            raise StoreError(
                f"{self.root} is not a feature store: it holds {sorted(foreign)[0]!r}; give an empty or a new folder"
            )
        for part in PARTS:
            (self.root / part).mkdir(parents=True, exist_ok=True)
        return write_atomically(mark, json.dumps(MARK).encode(), self.root / "scratch" / f"{uuid.uuid4().hex}.json")

    def _check_mark(self, mark: Path) -> None:
        try:
            content = json.loads(read_bounded(mark, 10_000))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{mark} is damaged ({error}); delete the folder, its content can be rebuilt") from error
        if content != MARK:
            raise StoreError(f"{mark} contains {content}, but this library reads {MARK}; use another folder")

    def shard(self, name: str) -> Path:
        return self.root / "shards" / f"{name}.safetensors"

    def index(self, name: str) -> Path:
        return self.root / "index" / f"{name}.json"

    def names(self) -> set[str]:
        """Return the names of all valid shards: those with an index."""
        return self._stems("index", ".json")

    def add(self, shard: bytes, index: bytes) -> str:
        """Write a shard, then its index; return the new name. Raises OSError, after which nothing was added."""
        if self._pid != os.getpid():  # a forked process must not reuse its parent's names
            self._writer, self._pid, self._count = uuid.uuid4().hex, os.getpid(), 0
        self._count += 1
        name = f"{self._writer}-{self._count:05d}"
        try:
            for path, data in ((self.shard(name), shard), (self.index(name), index)):
                write_atomically(path, data, self.root / "scratch" / path.name)
        except OSError:
            self.remove(name)
            raise
        return name

    def remove(self, name: str) -> int:
        """Delete an index, then its shard; return the bytes freed. Missing files are ignored."""
        freed = 0
        for path in (self.index(name), self.shard(name)):
            freed += _size(path)
            path.unlink(missing_ok=True)
        return freed

    def size(self, name: str) -> int:
        """Return the size in bytes of a shard and its index."""
        return _size(self.shard(name)) + _size(self.index(name))

    def age_order(self, name: str) -> tuple[float, str]:
        """Sort key from the oldest to the newest shard: (POSIX seconds when it was written, name)."""
        return _stat(self.index(name), lambda stat: stat.st_mtime, time.time()), name

    def leftovers(self) -> list[Path]:
        """Return scratch files and shards without index: of a killed writer, or of one that is active now."""
        orphans = self._stems("shards", ".safetensors") - self.names()
        return sorted([*(self.root / "scratch").iterdir(), *(self.shard(name) for name in orphans)])

    def sweep(self) -> int:
        """Delete leftovers that are too old to belong to an active writer; return the bytes freed."""
        freed = 0
        for path in self.leftovers():
            if time.time() - _stat(path, lambda stat: stat.st_mtime, time.time()) > GRACE_SECONDS:
                freed += _size(path)
                path.unlink(missing_ok=True)
        return freed

    def _stems(self, part: str, suffix: str) -> set[str]:
        return {name.removesuffix(suffix) for name in os.listdir(self.root / part) if name.endswith(suffix)}


def _size(path: Path) -> int:
    return _stat(path, lambda stat: stat.st_size, 0)


def _stat(path: Path, read: Callable[[os.stat_result], Any], missing: Any) -> Any:
    try:
        return read(path.stat())
    except FileNotFoundError:  # another process has pruned it
        return missing
