"""Write safetensors files atomically, with the usual permissions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vidweave.storage import atomic_path

__all__ = ["follow_umask", "save_tensors"]


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to `file`; an existing file is kept until the new one is complete.

    Raises:
        OSError, SafetensorError: it could not be written (disk full).
    """
    with atomic_path(file) as partial:
        save_file(dict(tensors), partial, metadata=dict(metadata or {}) or None)
        follow_umask(partial)


def follow_umask(*files: Path) -> None:
    """Set the permissions of files according to the umask; safetensors lets only the owner read its files."""
    for file in files:
        probe = file.with_name(f".{file.name}.mode")
        probe.touch()
        mode = probe.stat().st_mode
        probe.unlink()
        file.chmod(mode & 0o777)
