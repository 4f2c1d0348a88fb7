"""Recognize the data of a stage when a run is resumed, by digests of a few of its examples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vidweave.errors import TrainingError
from vidweave.training.batches import BatchSource

__all__ = ["check_same_data", "describe_data"]

_SAMPLED = 8
_EDGE_BYTES = 2**16


def describe_data(source: BatchSource, *, is_derived: bool) -> dict[str, Any]:
    """Describe examples as JSON data: their number, and digests of some, spread from the first to the last.

    Files and folders named by an example are identified by their size and parts of their content, not by their path.

    Args:
        is_derived: The examples were computed by the model. Their floating-point values are then ignored, since they
            may differ in the last bit on another machine.
    """
    size = len(source.examples)
    indices = sorted({i * (size - 1) // max(1, _SAMPLED - 1) for i in range(_SAMPLED)})
    return {"size": size, "digests": _digests(source, indices, is_derived), "is_derived": is_derived}


def check_same_data(saved: Mapping[str, Any], source: BatchSource) -> None:
    """Raise TrainingError unless the examples begin with those described by `describe_data`; there may be more now."""
    where, size = f"the data of stage {source.stage.name!r} changed", len(source.examples)
    advice = "resume with the same data (more examples may follow), or train into another folder"
    if size < saved["size"]:
        raise TrainingError(f"{where}: there were {saved['size']} examples, now {size}; {advice}")
    now = _digests(source, [int(index) for index in saved["digests"]], saved["is_derived"])
    changed = [index for index, digest in saved["digests"].items() if now[index] != digest]
    if changed:
        raise TrainingError(
            f"{where}: {len(changed)} of {len(now)} compared examples are others (e.g. example {changed[0]}); {advice}"
        )


def _digests(source: BatchSource, indices: Sequence[int], is_derived: bool) -> dict[str, str]:
    result = {}
    for index in indices:
        digest = blake2b(digest_size=16)
        _add(digest, source.example(index), is_derived)
        result[str(index)] = digest.hexdigest()
    return result


def _add(digest: Any, value: Any, is_derived: bool) -> None:
    """Add a value and everything inside it; for objects that are not data, the name of their type."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if isinstance(value, np.ndarray | np.generic):
        digest.update(f"{value.dtype}{value.shape}".encode())
        if value.dtype.hasobject:
            _add(digest, value.tolist(), is_derived)
        elif not (is_derived and value.dtype.kind in "fc"):
            digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, str | os.PathLike):
        _add_text(digest, value)
    elif isinstance(value, float):
        digest.update(b"float" if is_derived else repr(value).encode())
    elif value is None or isinstance(value, bool | int | bytes):
        digest.update(repr(value).encode())
    elif is_dataclass(value) and not isinstance(value, type):
        _add_parts(digest, [(f.name, getattr(value, f.name)) for f in fields(value)], is_derived)
    elif isinstance(value, Mapping):
        _add_parts(digest, value.items(), is_derived)
    elif isinstance(value, Sequence):
        _add_parts(digest, enumerate(value), is_derived)
    elif isinstance(value, Set):
        _add_parts(digest, enumerate(sorted(map(repr, value))), is_derived)
    else:
        digest.update(type(value).__qualname__.encode())


def _add_parts(digest: Any, parts: Any, is_derived: bool) -> None:
    digest.update(b"(")
    for key, part in parts:
        digest.update(f"{key}=".encode())
        _add(digest, part, is_derived)
    digest.update(b")")


def _add_text(digest: Any, text: str | os.PathLike[str]) -> None:
    path = Path(text)
    if os.path.isfile(path):
        _add_file(digest, path)
    elif os.path.isdir(path):
        files = sorted(file for file in path.iterdir() if file.is_file())
        digest.update("".join(f"{file.name}:{file.stat().st_size};" for file in files).encode())
        for file in files[:1] + files[1:][-1:]:
            _add_file(digest, file)
    else:
        digest.update(repr(os.fspath(text)).encode())


def _add_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(f"file {size}".encode() + file.read(_EDGE_BYTES))
        file.seek(max(0, size - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
