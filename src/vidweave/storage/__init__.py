"""Files that survive a kill, a full disk and a second process: atomic files, append-only journals, locks."""

from vidweave.storage.files import (
    append_durably,
    atomic_folder,
    atomic_path,
    read_bounded,
    read_range,
    write_atomically,
)
from vidweave.storage.journal import Journal, changed_settings, read_journal
from vidweave.storage.lock import lock_file, locked, waiting_lock

__all__ = [
    "Journal",
    "append_durably",
    "atomic_folder",
    "atomic_path",
    "changed_settings",
    "lock_file",
    "locked",
    "read_bounded",
    "read_journal",
    "read_range",
    "waiting_lock",
    "write_atomically",
]
