"""Reports about a feature store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BadEntry", "PruneReport", "StoreStats", "VerifyReport"]


@dataclass(frozen=True)
class StoreStats:
    """Sizes of the store, and counters of this object.

    Attributes:
        num_entries: Available entries: flushed ones of every writer and pending ones of this one.
        num_shards: Shard files.
        num_bytes: Bytes on disk, shards and indices.
        num_pending: Entries in memory, not yet flushed.
        num_hits, num_misses: Results of `get` of this object; a damaged entry also counts as a miss.
        num_damaged: Damaged or stale entries and indices that this object encountered and ignored.
    """

    num_entries: int
    num_shards: int
    num_bytes: int
    num_pending: int
    num_hits: int
    num_misses: int
    num_damaged: int

    @property
    def hit_rate(self) -> float | None:
        """Hits per request, None before the first one."""
        asked = self.num_hits + self.num_misses
        return self.num_hits / asked if asked else None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {**asdict(self), "hit_rate": self.hit_rate}


@dataclass(frozen=True)
class BadEntry:
    """An unusable entry (or, with an empty key, a whole index), and the reason."""

    key: str
    shard: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """Result of reading every byte once: checked entries, bad ones, and files without an index."""

    num_checked: int
    bad: tuple[BadEntry, ...]
    leftovers: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if no entry is bad; leftovers of a killed writer only take space."""
        return not self.bad

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class PruneReport:
    """Removed data; `num_bytes` counts files."""

    num_shards: int
    num_entries: int
    num_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)
