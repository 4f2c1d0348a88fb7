"""What the store says about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BadEntry", "PruneReport", "StoreStats", "VerifyReport"]


@dataclass(frozen=True)
class StoreStats:
    """Sizes of the store, and what this object has seen of it.

    Attributes:
        num_entries: Entries that can be asked for, flushed ones of every writer and pending ones of this one.
        num_shards: Shard files.
        num_bytes: Bytes on disk, shards and indices.
        num_pending: Entries in memory, not yet flushed.
        num_hits, num_misses: Answers of `get` of this object; a damaged entry is a miss as well.
        num_damaged: Damaged or stale entries and indices that this object met and did not use.
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
        """Hits per question, None before the first one."""
        asked = self.num_hits + self.num_misses
        return self.num_hits / asked if asked else None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {**asdict(self), "hit_rate": self.hit_rate}


@dataclass(frozen=True)
class BadEntry:
    """An entry (or, with an empty key, a whole index) that would not be used, and why."""

    key: str
    shard: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """Every byte read once: entries checked, those that are bad, and files that no index speaks of."""

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
    """What was removed; `num_bytes` counts files."""

    num_shards: int
    num_entries: int
    num_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)
