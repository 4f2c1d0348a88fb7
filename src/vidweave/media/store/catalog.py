"""Catalog of the entries of a store, per process: reads every index file once and counts damaged ones."""

from __future__ import annotations

import errno

from vidweave.media.store.folder import StoreFolder
from vidweave.media.store.shard import Entry, read_index

__all__ = ["Catalog"]

DAMAGE = (errno.ENOENT, errno.EIO, errno.ELOOP)  # one file is bad; any other OSError concerns the whole store


class Catalog:
    """Keys → copies (shard name, entry), newest last.

    Attributes:
        num_damaged: Rejected entries and indices; those pruned by another process do not count.
    """

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._copies: dict[str, list[tuple[str, Entry]]] = {}
        self._known: set[str] = set()  # shards whose index was read or is unreadable
        self.num_damaged = 0

    def __iter__(self):
        return iter(self._copies)

    def newest(self, key: str) -> tuple[str, Entry] | None:
        """Return the latest copy that was not rejected; checks for new shards if there is none."""
        if key not in self._copies:
            self.refresh()
        return self._copies[key][-1] if key in self._copies else None

    def refresh(self) -> None:
        """Update for shards added or removed by any process; raises OSError if the folder cannot be listed."""
        names = self._folder.names()
        for name in sorted(names - self._known, key=self._folder.age_order):
            self._known.add(name)
            try:
                for entry in read_index(self._folder.index(name)):
                    self._copies.setdefault(entry.key, []).append((name, entry))
            except (ValueError, OSError) as error:
                self._count(name, error)
        if gone := self._known - names:
            self.forget(gone)

    def refuse(self, key: str, error: Exception) -> None:
        """Drop the newest copy of `key`, which could not be used because of `error`; an OSError that does not concern
        this one file is raised again."""
        name, _ = self._copies[key].pop()
        if not self._copies[key]:
            del self._copies[key]
        self._count(name, error)

    def forget(self, names: set[str]) -> int:
        """Drop shards that are gone; return how many keys have no copy left."""
        before = len(self._copies)
        self._known -= names
        for key, copies in list(self._copies.items()):
            copies[:] = [copy for copy in copies if copy[0] not in names]
            if not copies:
                del self._copies[key]
        return before - len(self._copies)

    def replaced(self) -> set[str]:
        """Return shards whose entries all have newer copies."""
        used = {copies[-1][0] for copies in self._copies.values()}
        return {name for copies in self._copies.values() for name, _ in copies[:-1]} - used

    def _count(self, name: str, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno not in DAMAGE:
            raise error
        was_pruned = isinstance(error, FileNotFoundError) and not self._folder.index(name).exists()
        self.num_damaged += not was_pruned
