"""Read every byte of a store once to find unusable entries."""

from __future__ import annotations

from vidweave.media.store.folder import StoreFolder
from vidweave.media.store.reports import BadEntry, VerifyReport
from vidweave.media.store.shard import read_entry, read_index, read_shard_header

__all__ = ["verify_folder"]


def verify_folder(folder: StoreFolder) -> VerifyReport:
    """Check every index, every shard's header against the file's size, and every entry against its checksum."""
    num_checked, bad = 0, []
    for name in sorted(folder.names()):
        num_entries, bad_entries = _verify_shard(folder, name)
        num_checked += num_entries
        bad += bad_entries
    leftovers = tuple(str(path.relative_to(folder.root)) for path in folder.leftovers())
    return VerifyReport(num_checked, tuple(bad), leftovers)


def _verify_shard(folder: StoreFolder, name: str) -> tuple[int, list[BadEntry]]:
    try:
        entries = read_index(folder.index(name))
    except (ValueError, OSError) as error:
        return 0, [BadEntry("", name, f"index: {error}")]
    bad = []
    try:
        read_shard_header(folder.shard(name))
    except (ValueError, OSError) as error:
        bad.append(BadEntry("", name, f"shard: {error}"))
    for entry in entries:
        try:
            read_entry(folder.shard(name), entry)
        except (ValueError, OSError) as error:
            bad.append(BadEntry(entry.key, name, str(error)))
    return len(entries), bad
