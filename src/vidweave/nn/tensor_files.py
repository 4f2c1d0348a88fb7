"""Safetensors files with the usual permissions, complete or not there at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vidweave.storage import atomic_path

__all__ = ["follow_umask", "save_tensors"]


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to `file`; an older file of that name stays as it is until the new one is complete.

    Raises:
        OSError, SafetensorError: it could not be written (disk full).
    """
    with atomic_path(file) as partial:
        save_file(dict(tensors), partial, metadata=dict(metadata or {}) or None)
        follow_umask(partial)


def follow_umask(*files: Path) -> None:
    """Set the permissions of files to those of any file made beside them; safetensors lets only the owner read its own."""
    for file in files:
        probe = file.with_name(f".{file.name}.mode")
        probe.touch()
        mode = probe.stat().st_mode
        probe.unlink()
        file.chmod(mode & 0o777)
