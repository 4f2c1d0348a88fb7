"""Features of frames that were computed before: in memory, and in a feature store on disk where there is one."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor

from vidweave.media.fingerprint import content_hash
from vidweave.media.limits import Limits
from vidweave.media.store import FeatureStore

__all__ = ["ContentHashes", "KeptFeatures"]


class KeptFeatures:
    """Tensors by key. Threads may share one.

    Args:
        folder: Of the feature store; None keeps them in memory alone.
        max_bytes: Kept in memory; the least recently used go first.
    """

    def __init__(self, folder: str | Path | None = None, *, max_bytes: int = 64 << 20) -> None:
        self.store = None if folder is None else FeatureStore(Path(folder))
        self._max_bytes, self._bytes = max_bytes, 0
        self._memory: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Tensor | None:
        """The tensor of `key`, or None if it must be computed."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        stored = None if self.store is None else self.store.get(key)
        if stored is None:
            return None
        self._remember(key, stored["features"])
        return stored["features"]

    def put(self, key: str, features: Tensor, info: dict[str, Any]) -> None:
        """Keep `features` under `key`; they reach the disk with the next `flush`."""
        self._remember(key, features)
        if self.store is not None:
            self.store.put(key, {"features": features}, info)

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self.store is not None:
            self.store.flush()

    def close(self) -> None:
        """Write what is not on disk yet; may be called again."""
        if self.store is not None:
            self.store.close()

    def _remember(self, key: str, features: Tensor) -> None:
        with self._lock:
            known = self._memory.pop(key, None)
            self._memory[key] = features
            self._bytes += features.nbytes - (0 if known is None else known.nbytes)
            while self._bytes > self._max_bytes and len(self._memory) > 1:
                _, gone = self._memory.popitem(last=False)
                self._bytes -= gone.nbytes


class ContentHashes:
    """Hashes of files, computed again only when a file has changed (device, inode, size or times). Threads may share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], str] = {}

    def of(self, source: Any, limits: Limits) -> str:
        """The hash of the content of `source`; see `media.fingerprint.content_hash`."""
        if not isinstance(source, (str, os.PathLike)) or not os.path.isfile(source):
            return content_hash(source, limits=limits)
        facts = os.stat(source)
        sidecar = f"{os.fspath(source)}.json"
        beside = os.stat(sidecar).st_mtime_ns if os.path.isfile(sidecar) else None
        key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, beside)
        if key not in self._known:
            self._known[key] = content_hash(source, limits=limits)
        return self._known[key]
