"""Feature store: output of frozen encoders, computed once, kept on disk, and verified when read."""

from __future__ import annotations

import errno
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from vidweave.errors import StoreError
from vidweave.media.store.catalog import Catalog
from vidweave.media.store.folder import StoreFolder
from vidweave.media.store.keys import canonical_json
from vidweave.media.store.reports import PruneReport, StoreStats, VerifyReport
from vidweave.media.store.shard import check_dtype, pack_shard, read_entry, to_tensors
from vidweave.media.store.verify import verify_folder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureStore"]

Result = TypeVar("Result")


def _one_at_a_time(method: Callable[..., Result]) -> Callable[..., Result]:
    """Serialize threads that access pending entries."""

    @wraps(method)
    def alone(self: FeatureStore, *args: Any, **kwargs: Any) -> Result:
        self._disown_after_fork()  # another thread of the parent may hold the lock
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


class FeatureStore:
    """Entries (content key → named tensors and information) in safetensors shards with checksums.

    New entries stay in memory until they reach `flush_bytes`, `flush` is called or the ``with`` block ends, and are then
    written to disk together. Any number of processes may use one folder at the same time; see
    `vidweave.media.store.folder` for why that needs no lock. The threads of a process may share one object.

    A damaged, stale or missing entry is never returned: `get` returns None and counts it, and the next `put` replaces it.

    Args:
        root: The folder; created if it does not exist, unless `create` is False.
        flush_bytes: Bytes of tensors kept in memory before a shard is written.

    Raises:
        StoreError: `root` cannot be a feature store.
    """

    def __init__(self, root: Path | str, *, flush_bytes: int = 64 << 20, create: bool = True) -> None:
        self.root, self.flush_bytes = Path(root), flush_bytes
        self._folder = StoreFolder(self.root, create=create)
        self._catalog = Catalog(self._folder)
        self._pending: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self._pending_bytes = 0
        self._pid, self._lock = os.getpid(), RLock()
        self._hits = self._misses = 0
        self._identity = uuid4().hex
        _OPEN[self._identity] = self

    @_one_at_a_time
    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors of `key`, verified against their checksum, or None if they must be computed.

        Raises:
            StoreError: the store cannot be read at all (permissions, a broken mount).
        """
        with self._reporting("cannot read entries"):
            tensors = self._copy_pending(key) or self._read_stored(key)
        if tensors is None:
            self._misses += 1
        else:
            self._hits += 1
        return tensors

    @_one_at_a_time
    def put(self, key: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any] | None = None) -> None:
        """Store `tensors` (from any device; copied) and `info` (JSON data) under `key`, replacing an earlier entry.

        Raises:
            StoreError: no tensors, an unsupported dtype, or a full shard could not be written (disk full?).
                Stored entries are intact; pending ones stay in memory and are retried.
        """
        if not key or not tensors:
            raise StoreError(f"an entry needs a key and at least one tensor, got key {key!r} and {sorted(tensors)}")
        for name, tensor in tensors.items():
            check_dtype(name, tensor)
        plain = json.loads(canonical_json(dict(info or {})))
        if key in self._pending:
            self._pending_bytes -= _num_bytes(self._pending[key][0])
        self._pending[key] = {name: _copy(tensor) for name, tensor in tensors.items()}, plain
        self._pending_bytes += _num_bytes(tensors)
        if self._pending_bytes >= self.flush_bytes:
            self.flush()

    @_one_at_a_time
    def flush(self) -> None:
        """Write pending entries, all or nothing.

        Raises:
            StoreError: the file system refused; nothing is lost, free some space and flush again.
        """
        if self._pending:
            shard, index = pack_shard(self._pending)
            with self._reporting(f"cannot write {len(self._pending)} entries ({len(shard)} bytes)"):
                self._folder.add(shard, index)
                self._pending, self._pending_bytes = {}, 0
                self._catalog.refresh()

    @_one_at_a_time
    def keys(self) -> list[str]:
        """Return the keys of all entries, of every writer, sorted."""
        with self._reporting("cannot list entries"):
            self._catalog.refresh()
        return sorted({*self._catalog, *self._pending})

    @_one_at_a_time
    def info(self, key: str) -> dict[str, Any]:
        """Return the information stored with `key`; raises StoreError if there is no such entry."""
        if key in self._pending:
            return dict(self._pending[key][1])
        with self._reporting("cannot list entries"):
            copy = self._catalog.newest(key)
        if copy is None:
            raise StoreError(f"there is no entry {key!r} in the feature store at {self.root}")
        return dict(copy[1].info)

    def stats(self) -> StoreStats:
        """Return sizes and hit rates."""
        num_entries = len(self.keys())
        names = self._folder.names()
        return StoreStats(
            num_entries=num_entries,
            num_shards=len(names),
            num_bytes=sum(self._folder.size(name) for name in names),
            num_pending=len(self._pending),
            num_hits=self._hits,
            num_misses=self._misses,
            num_damaged=self._catalog.num_damaged,
        )

    def verify(self) -> VerifyReport:
        """Read and check every byte of every shard, without changes."""
        with self._reporting("cannot verify entries"):
            return verify_folder(self._folder)

    def prune(
        self, *, max_bytes: int | None = None, older_than: float | None = None, damaged: bool = False
    ) -> PruneReport:
        """Remove whole shards; removed entries are computed again when needed.

        Leftovers of killed writers and shards whose entries were all replaced are always removed.

        Args:
            max_bytes: Remove the oldest shards until at most this many bytes are left on disk.
            older_than: Remove shards that were written more than this many seconds ago.
            damaged: Verify, and remove shards with a bad entry.

        Raises:
            StoreError: a negative limit, or files that cannot be removed.
        """
        if (max_bytes or 0) < 0 or (older_than or 0) < 0:
            raise StoreError(f"prune needs limits of 0 or more, got max_bytes={max_bytes}, older_than={older_than}")
        with self._reporting("cannot prune entries"):
            self._catalog.refresh()
            by_age = sorted(self._folder.names(), key=self._folder.age_order)
            doomed = self._catalog.replaced() & set(by_age)
            if damaged:
                doomed |= {bad.shard for bad in self.verify().bad}
            if older_than is not None:
                doomed |= {name for name in by_age if time.time() - self._folder.age_order(name)[0] > older_than}
            if max_bytes is not None:
                doomed |= self._oldest_beyond(max_bytes, [name for name in by_age if name not in doomed])
            freed = sum(self._folder.remove(name) for name in doomed) + self._folder.sweep()
            return PruneReport(len(doomed), self._catalog.forget(doomed), freed)

    def close(self) -> None:
        """Flush pending entries."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()  # also after an exception: entries computed until then are valid

    def __len__(self) -> int:
        return len(self.keys())

    def __reduce__(self) -> tuple[Any, ...]:
        # A data worker opens the folder once; pending entries stay here, and an object it sends back becomes this one
        # again.
        return _reopen, (self._identity, self.root, self.flush_bytes)

    def _copy_pending(self, key: str) -> dict[str, Tensor] | None:
        if key not in self._pending:
            return None
        return {name: tensor.clone() for name, tensor in self._pending[key][0].items()}

    def _read_stored(self, key: str) -> dict[str, Tensor] | None:
        while copy := self._catalog.newest(key):
            name, entry = copy
            try:
                return to_tensors(entry, read_entry(self._folder.shard(name), entry))
            except (ValueError, OSError) as error:
                self._catalog.refuse(key, error)
        return None

    def _oldest_beyond(self, max_bytes: int, by_age: list[str]) -> set[str]:
        sizes = [self._folder.size(name) for name in by_age]
        total, doomed = sum(sizes), set()
        for name, size in zip(by_age, sizes, strict=True):
            if total <= max_bytes:
                break
            doomed.add(name)
            total -= size
        return doomed

    def _disown_after_fork(self) -> None:
        if self._pid != os.getpid():  # the parent still has these entries and will write them
            self._pid, self._lock = os.getpid(), RLock()
            self._pending, self._pending_bytes = {}, 0

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = "; free some space and flush again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            reason = error.strerror or error
            raise StoreError(f"{what} in the feature store at {self.root}: {reason}{advice}") from error


def _copy(tensor: Tensor) -> Tensor:
    import torch

    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


_OPEN: weakref.WeakValueDictionary[str, FeatureStore] = weakref.WeakValueDictionary()


def _reopen(identity: str, root: Path, flush_bytes: int) -> FeatureStore:
    """Return the pickled store in the process that owns it; open its folder in any other."""
    store = _OPEN.get(identity)
    if store is None:
        store = FeatureStore(root, flush_bytes=flush_bytes)
        store._identity = identity
        _OPEN[identity] = store
    return store
