"""Replacement of the files of a model folder as a whole: at every instant the old model or the new one loads.

A save writes all its files into `.vidweave-saving`, which no loader reads. One rename to `.vidweave-saved` makes the new
model the current one: from then on loaders read that folder. Its files then replace the old ones outside (as hard links,
as copies where the file system has none), and the hidden folder is removed. A save that was killed leaves one of the
hidden folders; the next save finishes what was complete and removes the rest.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError

from vidweave.errors import CheckpointError
from vidweave.model.names import SAVED, current
from vidweave.nn.tensor_files import follow_umask
from vidweave.storage.files import sync
from vidweave.storage.lock import waiting_lock

__all__ = ["PROCESSOR_FILES", "current", "replaced"]

SAVING, REMOVED = ".vidweave-saving", ".vidweave-removed"
WEIGHT_FILES = ("model.safetensors", "model-?????-of-?????.safetensors", "model.safetensors.index.json")
PROCESSOR_FILES = ("processor_config.json", "tokenizers")
# Files that belong to the model in a folder; other files (cards, reports) are left alone.
MODEL_FILES = (*WEIGHT_FILES, *PROCESSOR_FILES, "config.json", "generation_config.json")
_UNCHANGED = "existing files are unchanged; free space or choose another folder, then save again"
_COMPLETE = f"the new model is complete in its folder {SAVED}, from where it loads; free space and save again"
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}


@contextmanager
def replaced(folder: Path, keep: Callable[[str], bool] = lambda name: False) -> Iterator[Path]:
    """Give an empty folder to write a model into; its files become those of `folder` when the block ends.

    Args:
        keep: Names in `folder` that the new model keeps unless it has them itself.

    Raises:
        CheckpointError: something could not be written (disk full); the old model still loads.
    """
    is_new = not folder.exists()
    with ExitStack() as held:
        with _writes(folder, _UNCHANGED), _removed_if(is_new, folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(waiting_lock(folder))  # only one process at a time may save into a folder
            staging = folder / SAVING
            try:
                _finish(folder)
                staging.mkdir()
                yield staging
                _complete(folder, staging, keep)
                staging.rename(folder / SAVED)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        with _writes(folder, _COMPLETE):
            _finish(folder)


def _complete(folder: Path, staging: Path, keep: Callable[[str], bool]) -> None:
    """Copy kept files, and flush everything to disk."""
    for old in sorted(folder.iterdir()):
        if not old.name.startswith(".") and keep(old.name) and not (staging / old.name).exists():
            _link(old, staging / old.name)
    files = sorted(staging.rglob("*"))
    follow_umask(*(path for path in files if path.suffix == ".safetensors"))
    sync(*files, staging)


def _finish(folder: Path) -> None:
    """Put a complete new model in the place of the old one, and remove the remains of saves."""
    _remove(folder / REMOVED)
    saved = folder / SAVED
    if saved.is_dir():
        for old in sorted(folder.iterdir()):
            if any(fnmatch(old.name, pattern) for pattern in MODEL_FILES):
                _remove(old)
        for new in sorted(saved.iterdir()):
            _remove(folder / new.name)
            _link(new, folder / new.name)
        sync(folder)
        saved.rename(folder / REMOVED)
    _remove(folder / REMOVED)
    _remove(folder / SAVING)


@contextmanager
def _removed_if(is_new: bool, folder: Path) -> Iterator[None]:
    """Remove a new folder that is still empty when the block fails."""
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _link(source: Path, target: Path) -> None:
    """The same file or folder under another name too; a copy where the file system has no links."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _writes(folder: Path, advice: str) -> Iterator[None]:
    """Turn errors of the disk into a CheckpointError; tokenizers raises a bare Exception for them."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (OSError, SafetensorError)) or type(error) is Exception:
            raise CheckpointError(f"could not save to {folder} ({error}); {advice}") from error
        raise
