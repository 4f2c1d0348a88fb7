"""Read and write weights tensor by tensor, so that a model larger than memory can be converted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.files import weight_files
from vidweave.model.released import read_checkpoint

__all__ = ["LazyTensor", "read_lazily", "write_sharded"]

_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is loaded when it is written, and released afterwards."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor | LazyTensor, dtype: torch.dtype | None = None) -> LazyTensor:
        """Wrap `tensor`; it is cast to `dtype` when it is loaded, if it is floating and a dtype is given."""
        if isinstance(tensor, LazyTensor):
            make, result = tensor.make, tensor.dtype
        else:
            make, result = (lambda: tensor), tensor.dtype
        if dtype is None or dtype == result or not result.is_floating_point:
            return cls(tuple(tensor.shape), result, make)
        return cls(tuple(tensor.shape), dtype, lambda: make().to(dtype))

    def map(self, change: Callable[[Tensor], Tensor]) -> LazyTensor:
        """The tensor that `change` makes of this one, once it is made; shape and dtype are those it makes on the meta device."""
        seen = change(torch.empty(self.shape, dtype=self.dtype, device="meta"))
        return LazyTensor(tuple(seen.shape), seen.dtype, lambda: change(self.make()))

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def read_lazily(folder: Path) -> dict[str, LazyTensor]:
    """List the tensors of a folder's weight files; each is read when it is loaded, and its file closed again.

    Raises:
        CheckpointError: as `files.read_weights`.
    """
    state: dict[str, LazyTensor] = {}
    for file in weight_files(folder):
        if file.suffix == ".bin":  # mapped: a tensor takes memory when it is used
            state |= {key: LazyTensor.of(tensor) for key, tensor in read_checkpoint(file).state.items()}
            continue
        try:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118  # not a mapping
                    piece = opened.get_slice(key)
                    dtype = _DTYPES[piece.get_dtype()]
                    state[key] = LazyTensor(tuple(piece.get_shape()), dtype, partial(_read_tensor, file, key))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{file.name} cannot be read as safetensors ({error}); fetch or save it again"
            ) from error
    return state


def _read_tensor(file: Path, key: str) -> Tensor:
    with safe_open(file, "pt") as opened:
        return opened.get_tensor(key)


def write_sharded(
    folder: Path,
    tensors: Mapping[str, LazyTensor],
    *,
    max_shard_bytes: int = 5 << 30,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write safetensors files, and an index where there are several, as transformers names them.

    At any time one tensor is in memory. Files get their names when they are whole; the index comes last.

    Args:
        progress: Called with bytes done and bytes in all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(tensors, max_shard_bytes))
    total, done = sum(t.num_bytes for t in tensors.values()), 0
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        for i in range(1, len(shards) + 1)
    ]
    for name, shard in zip(names, shards, strict=True):
        partial = folder / f"{name}.partial"
        with partial.open("wb") as stream:
            stream.write(_header(shard))
            for key, lazy in shard.items():
                _write(stream, key, lazy)
                done += lazy.num_bytes
                if progress is not None:
                    progress(done, total)
        partial.replace(folder / name)
    if len(shards) > 1:
        where = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return [folder / name for name in names]


def _shards(tensors: Mapping[str, LazyTensor], most: int) -> Iterator[dict[str, LazyTensor]]:
    """Tensors in order of name, in groups of at most `most` bytes (or one tensor)."""
    shard: dict[str, LazyTensor] = {}
    size = 0
    for key in sorted(tensors):
        if shard and size + tensors[key].num_bytes > most:
            yield shard
            shard, size = {}, 0
        shard[key] = tensors[key]
        size += tensors[key].num_bytes
    yield shard


def _header(shard: Mapping[str, LazyTensor]) -> bytes:
    """Header of a safetensors file: its length, and JSON padded to 8 bytes."""
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, lazy in shard.items():
        end = offset + lazy.num_bytes
        described[key] = {"dtype": _NAMES[lazy.dtype], "shape": list(lazy.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(stream: BinaryIO, key: str, lazy: LazyTensor) -> None:
    tensor = lazy.make().detach().contiguous()
    if tuple(tensor.shape) != lazy.shape or tensor.dtype != lazy.dtype:
        raise CheckpointError(
            f"{key} became {tensor.dtype} {tuple(tensor.shape)}, not {lazy.dtype} {lazy.shape} as was announced"
        )
    if tensor.numel():
        stream.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
