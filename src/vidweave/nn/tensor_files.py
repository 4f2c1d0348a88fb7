"""Safetensors files with the usual permissions, complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["follow_umask", "save_tensors", "sync"]


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to `file`; an older file of that name stays as it is until the new one is complete.

    Raises:
        OSError, SafetensorError: it could not be written (disk full).
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata or {}) or None)
        follow_umask(partial)
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def follow_umask(*files: Path) -> None:
    """Set the permissions of files to those of any file made beside them; safetensors lets only the owner read its own."""
    for file in files:
        probe = file.with_name(f".{file.name}.mode")
        probe.touch()
        mode = probe.stat().st_mode
        probe.unlink()
        file.chmod(mode & 0o777)


def sync(*paths: Path) -> None:
    """Wait until the contents of files, or the names in folders, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
