"""Read a released checkpoint file: tensors only, mapped where its format allows, never its code.

Whatever else a download may have left under the file's name (a web page, a git-LFS pointer, half a file, …) has a message
of its own that says what to do.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import CheckpointError

__all__ = ["Checkpoint", "read_checkpoint"]

_ZIP = b"PK\x03\x04"
_ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "rar"}
# Keys under which training scripts store the weights, next to optimizer, epoch and the like.
_WRAPS = ("model", "state_dict", "module")
# Prefixes that wrappers of a whole model put before every name.
_PREFIXES = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile"}
_HEAD_BYTES = 512


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a released file.

    Attributes:
        file: Where it is.
        state: Its names → tensors; modules with a state dict each are joined by dots.
        notes: Changes made to the names.
    """

    file: Path
    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.file.name


def read_checkpoint(file: str | Path) -> Checkpoint:
    """Read a file of `torch.save`, zipped or of older releases; zipped ones are mapped until their tensors are used.

    The weights may stand at the top or under `model`, `state_dict` or `module`. A prefix that a wrapper of the training
    put before every name is stripped, with a note.

    Raises:
        CheckpointError: no such file, another kind of file, no dict of tensors, or a file that would have to run code.
    """
    file = Path(file)
    _refuse_other_kinds(file)
    data = _load(file)
    wrapped = next((key for key in _WRAPS if isinstance(data, dict) and isinstance(data.get(key), dict)), None)
    state = data if wrapped is None else data[wrapped]
    where = "at the top" if wrapped is None else f"under {wrapped!r}"
    if not isinstance(state, dict):
        raise CheckpointError(f"{file.name} holds no dict of tensors: it is a {type(state).__name__}")
    notes: list[str] = []
    flat = _flattened(state, file.name, notes)
    strangers = sorted(key for key, value in flat.items() if not isinstance(value, Tensor))
    if strangers or not flat:
        result = f"{', '.join(strangers[:4])} are none" if strangers else "it is empty"
        raise CheckpointError(f"{file.name} holds no dict of tensors {where}: {result}")
    return Checkpoint(file, flat, tuple(notes))


def _flattened(state: dict[Any, Any], name: str, notes: list[str]) -> dict[str, Any]:
    """Modules with a state dict each become one, and wrappers' prefixes go."""
    flat: dict[str, Any] = {}
    for key, value in _unwrapped(state, name, notes).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": tensor for inner, tensor in _unwrapped(value, f"{name} ({key})", notes).items()}
        else:
            flat[key] = value
    return flat


def _unwrapped(state: dict[Any, Any], name: str, notes: list[str]) -> dict[str, Any]:
    named = {str(key): value for key, value in state.items()}
    while named and (prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in named)), None)):
        named = {key.removeprefix(prefix): value for key, value in named.items()}
        notes.append(f"{name}: stripped {prefix!r}, which {_PREFIXES[prefix]} puts before every name")
    return named


def _load(file: Path) -> Any:
    is_zip = _head(file).startswith(_ZIP)  # only zipped files can be mapped
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file.name} cannot be read as a file of tensors alone: reading it would run code, or it is no file of "
            "torch.save; get the authors' file of weights"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file.name} cannot be read: it is damaged or cut short ({file.stat().st_size:,} bytes: {reason}); fetch it "
            "again"
        ) from error


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _refuse_other_kinds(file: Path) -> None:
    """Raise CheckpointError for a file that torch.save did not write, by its first bytes."""
    if file.is_dir():
        raise CheckpointError(f"{file.name} cannot be read: it is a folder; give the file in it")
    try:
        head, size = _head(file), file.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{file.name} cannot be read: {error.strerror}; check the path") from error
    what = _other_kind(head, size)
    if what is None and head.startswith(_ZIP):
        what = _other_zip(file, size)
    if what is not None:
        raise CheckpointError(f"{file.name} cannot be read: {what}")


def _other_kind(head: bytes, size: int) -> str | None:
    """Describe a file by its first bytes, with advice; None where torch.save may have written it."""
    text = head.lstrip().lower()
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if not size:
        return "it is empty (0 bytes): the download failed; fetch it again"
    if text.startswith(b"version https://git-lfs"):
        return (
            "it is a git-LFS pointer, not the file itself; run `git lfs pull` in its repository, or download the file"
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page: the link needs a login or a confirmation; download the file itself with a browser"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < size:
        return (
            "it is a safetensors file, and layouts of released files are those of torch.save; a folder of vidweave or "
            "transformers needs no conversion: give the folder to --model"
        )
    if archive is not None or head[257:262] == b"ustar":
        return f"it is an archive ({archive or 'tar'}); unpack it, and give the checkpoint in it"
    return _text(head)


def _text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not all(c.isprintable() or c.isspace() for c in text):
        return None
    return f"it is text that begins with {text[:40]!r}; download the file itself"


def _other_zip(file: Path, size: int) -> str | None:
    """torch.save's files are zip archives with a pickle in them."""
    if not zipfile.is_zipfile(file):
        return f"it is cut short: its end is missing ({size:,} bytes are there); fetch it again"
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return None
    return (
        f"it is a zip archive with {', '.join(names[:3]) or 'nothing'} in it; unpack it, and give the checkpoint in it"
    )
