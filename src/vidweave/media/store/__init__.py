"""Feature store on disk: crash-safe, checksummed, keyed by content; torch is only imported when tensors are used."""

from vidweave.media.store.keys import store_key
from vidweave.media.store.reports import BadEntry, PruneReport, StoreStats, VerifyReport
from vidweave.media.store.store import FeatureStore

__all__ = ["BadEntry", "FeatureStore", "PruneReport", "StoreStats", "VerifyReport", "store_key"]
