"""Shards: safetensors files with many entries, and an index file for each that locates them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.errors import StoreError
from vidweave.media.store.keys import canonical_json
from vidweave.storage.files import read_bounded, read_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FORMAT_VERSION",
    "Entry",
    "TensorPlace",
    "check_dtype",
    "pack_shard",
    "read_entry",
    "read_index",
    "read_shard_header",
    "to_tensors",
]

FORMAT_VERSION = 1
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
MAX_INDEX_BYTES = 100_000_000
ITEM_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64"), 8),
}


@dataclass(frozen=True)
class TensorPlace:
    """Position, dtype and shape of a tensor in its shard."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True)
class Entry:
    """Index entry for one stored item; `digest` covers key, info, names, dtypes, shapes and all bytes."""

    key: str
    tensors: tuple[TensorPlace, ...]
    info: Mapping[str, Any]
    digest: str

    @property
    def num_bytes(self) -> int:
        return sum(place.length for place in self.tensors)


def check_dtype(name: str, tensor: Tensor) -> None:
    """Raise StoreError for a dtype that safetensors does not support."""
    if _dtype(tensor) not in ITEM_BYTES:
        raise StoreError(f"tensor {name!r} has dtype {_dtype(tensor)}; the store holds {', '.join(sorted(ITEM_BYTES))}")


def pack_shard(entries: Mapping[str, tuple[Mapping[str, Tensor], Mapping[str, Any]]]) -> tuple[bytes, bytes]:
    """Serialize entries (key → tensors, info) as a shard and its index."""
    from safetensors.torch import save

    named = {f"{i}/{name}": t for i, (tensors, _) in enumerate(entries.values()) for name, t in tensors.items()}
    shard = save(named, metadata={"format": "pt", "vidweave": str(FORMAT_VERSION)})
    start, header = _parse_header(shard)
    index = []
    for i, (key, (tensors, info)) in enumerate(entries.items()):
        places = []
        for name, tensor in sorted(tensors.items()):
            begin, end = header[f"{i}/{name}"]["data_offsets"]
            places.append(TensorPlace(name, _dtype(tensor), tuple(tensor.shape), start + begin, end - begin))
        bodies = [shard[p.offset : p.offset + p.length] for p in places]
        index.append(Entry(key, tuple(places), dict(info), _digest(key, places, info, bodies)))
    body = {"version": FORMAT_VERSION, "shard_bytes": len(shard), "entries": [asdict(entry) for entry in index]}
    return shard, canonical_json({"index": body, "sha256": hashlib.sha256(canonical_json(body)).hexdigest()})


def read_index(path: Path) -> list[Entry]:
    """Read the entries of an index file.

    Raises:
        ValueError: the file is damaged, too large, or of another format version.
        OSError: it cannot be read.
    """
    try:
        data = json.loads(read_bounded(path, MAX_INDEX_BYTES))
        body, digest = data["index"], data["sha256"]
        if body["version"] != FORMAT_VERSION:
            raise ValueError(f"format version {body['version']!r}, this library reads {FORMAT_VERSION}")
        if hashlib.sha256(canonical_json(body)).hexdigest() != digest:
            raise ValueError("the index does not match its checksum")
        return [_entry(item) for item in body["entries"]]
    except (KeyError, TypeError, RecursionError, StoreError) as error:
        raise ValueError(f"not an index: {error}") from error


def _entry(data: dict[str, Any]) -> Entry:
    places = tuple(
        TensorPlace(p["name"], p["dtype"], tuple(p["shape"]), p["offset"], p["length"]) for p in data["tensors"]
    )
    for p in places:
        if p.dtype not in ITEM_BYTES or p.length != math.prod(p.shape) * ITEM_BYTES[p.dtype]:
            raise ValueError(f"tensor {p.name!r} cannot have {p.length} bytes as {p.dtype} {list(p.shape)}")
    return Entry(data["key"], places, data["info"], data["digest"])


def read_entry(shard: Path, entry: Entry) -> dict[str, bytearray]:
    """Read and verify the bytes of every tensor of an entry.

    Raises:
        ValueError: the shard is too short, or the bytes are not those that were written.
        OSError: it cannot be read.
    """
    bodies = read_range(shard, [(p.offset, p.length) for p in entry.tensors])
    if _digest(entry.key, entry.tensors, entry.info, bodies) != entry.digest:
        raise ValueError("the bytes do not match their checksum")
    return {place.name: body for place, body in zip(entry.tensors, bodies, strict=True)}


def to_tensors(entry: Entry, bodies: Mapping[str, bytearray]) -> dict[str, Tensor]:
    """Convert verified bytes to tensors; each owns its memory."""
    import torch

    def tensor(place: TensorPlace) -> Tensor:
        dtype = getattr(torch, place.dtype)
        if not place.length:
            return torch.empty(place.shape, dtype=dtype)
        return torch.frombuffer(bodies[place.name], dtype=dtype).reshape(place.shape)

    return {place.name: tensor(place) for place in entry.tensors}


def read_shard_header(path: Path) -> dict[str, Any]:
    """Read the safetensors header of a shard, after checking its announced size against the file.

    Raises:
        ValueError: the file is truncated, or its header is damaged or too large.
    """
    size = path.stat().st_size
    [prefix] = read_range(path, [(0, 8)])
    length = int.from_bytes(prefix, "little")
    if length > min(MAX_HEADER_BYTES, size - 8):
        raise ValueError(f"the header claims {length} bytes, the file has {size}")
    [text] = read_range(path, [(8, length)])
    start, header = _parse_header(bytes(prefix + text))
    end = max((item["data_offsets"][1] for item in header.values()), default=0)
    if start + end != size:
        raise ValueError(f"the header describes {start + end} bytes, the file has {size}")
    return header


def _parse_header(data: bytes) -> tuple[int, dict[str, Any]]:
    """Return the start of the tensors' bytes, and the header without its metadata."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        return 8 + length, {name: item for name, item in header.items() if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"the safetensors header is damaged: {error}") from error


def _digest(key: str, places: Any, info: Mapping[str, Any], bodies: list[Any]) -> str:
    described = {"key": key, "info": info, "tensors": [(p.name, p.dtype, p.shape) for p in places]}
    sha = hashlib.sha256(canonical_json(described))
    for body in bodies:
        sha.update(body)
    return sha.hexdigest()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
