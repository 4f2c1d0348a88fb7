"""Save states: named tensors and a structure in plain JSON, read back only into known state classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from vidweave.connectors.memory import MemoryState
from vidweave.connectors.qformer_memory import Projected, QFormerMemory
from vidweave.connectors.state import ConnectorState
from vidweave.errors import CheckpointError
from vidweave.nn.bank import Bank
from vidweave.types import Blocks, Features, TextTokens

__all__ = ["flatten", "unflatten"]

CLASSES: dict[str, Callable[..., Any]] = {
    cls.__name__: cls
    for cls in (Bank, Blocks, ConnectorState, Features, MemoryState, Projected, QFormerMemory, TextTokens)
}


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a state into JSON data, in which tensors are names, and the tensors by name.

    Raises:
        CheckpointError: a value that is not a known state class (e.g. a custom trunk's own memory).
    """
    tensors: dict[str, Tensor] = {}
    return _write(value, "state", tensors), tensors


def unflatten(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild a state from the output of `flatten`; raises CheckpointError for other data."""
    try:
        return _read(structure, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the file holds no state of a stream ({error}); save it again") from error


def _write(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"mapping": {str(key): _write(item, f"{name}.{key}", tensors) for key, item in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_write(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    if is_dataclass(value) and type(value).__name__ in CLASSES:
        parts = {f.name: _write(getattr(value, f.name), f"{name}.{f.name}", tensors) for f in fields(value)}
        return {"class": type(value).__name__, "fields": parts}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    raise CheckpointError(f"a state with a {type(value).__name__} inside cannot be saved")


def _read(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    if "tensor" in data:
        return tensors[data["tensor"]]
    if "mapping" in data:
        return {key: _read(item, tensors) for key, item in data["mapping"].items()}
    if "tuple" in data:
        return tuple(_read(item, tensors) for item in data["tuple"])
    if "class" in data:
        return CLASSES[data["class"]](**{key: _read(item, tensors) for key, item in data["fields"].items()})
    return data["plain"]
