"""Look-up of stored features of frozen encoders, and fingerprints of weights."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from vidweave.media.store import FeatureStore, store_key
from vidweave.model.config import ModelSpec
from vidweave.types import StoreEntry, config_to_dict

__all__ = ["CacheCounts", "CacheFolder", "FeatureCache", "Fingerprints", "is_frozen", "module_fingerprint"]


class Fingerprints:
    """Fingerprints of modules by name; one is computed again only after a weight was replaced or written to."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[Any], str]] = {}

    def of(self, name: str, module: nn.Module) -> str:
        """Fingerprint of `module`, cached under `name`."""
        tensors = _weights(module, all_buffers=True)
        stamp = [(key, t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version) for key, t in tensors]
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = (stamp, _fingerprint(tensors))
        return known[1]


@dataclass
class CacheCounts:
    """Rows that were `known`, and those that had to be `computed`."""

    known: int = 0
    computed: int = 0


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Look-up of stored features for a model with its current weights; plain data without weights, for data workers.

    The key of a row is made of the content's hash, the decode plan, preprocessing, pooling and the encoder's fingerprint:
    never of the question or the connector. `CacheFolder.look_up` makes a new
    one, which sees weights that have changed since.

    Attributes:
        encoders: Encoder → fingerprint of its configuration and weights; None if it is trainable, so that its features
            are not stored.
        dtype: Of the model, in which features are stored.
        counts: Counts of all look-ups through this object.
    """

    store: FeatureStore
    spec: ModelSpec
    encoders: Mapping[str, str | None]
    dtype: str
    counts: CacheCounts = field(default_factory=CacheCounts)
    _made: dict[str, tuple[Tensor, list[str]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        store: FeatureStore,
        spec: ModelSpec,
        encoders: Mapping[str, nn.Module],
        dtype: torch.dtype,
        fingerprints: Fingerprints,
    ) -> FeatureCache:
        """Create the look-up for `encoders` with their current weights."""

        def look(name: str, encoder: nn.Module) -> str | None:
            if not is_frozen(encoder):
                return None
            return store_key(config=config_to_dict(spec.encoders[name]), weights=fingerprints.of(name, encoder))

        return cls(store, spec, {name: look(name, encoder) for name, encoder in encoders.items()}, str(dtype))

    def for_batch(self) -> FeatureCache:
        """The same for one batch, in which a row that occurs several times is decoded and encoded once."""
        return replace(self, _made={})

    def with_own_counts(self) -> FeatureCache:
        """The same with counts that begin at zero."""
        return replace(self, counts=CacheCounts())

    def serves(self, stream: str) -> bool:
        """Whether the stream's encoder is frozen, so that its features may be stored."""
        return self.encoders[self.spec.streams[stream].encoder] is not None

    def entry(self, stream: str, modality: str, parts: Mapping[str, Any]) -> StoreEntry:
        """Store entry of one row's features; `parts` identify the content and the decoded part of it."""
        config = self.spec.streams[stream]
        pool = config_to_dict(config.pool)
        key = store_key(**parts, pool=pool, encoder=self.encoders[config.encoder], dtype=self.dtype)
        return StoreEntry(key, {"stream": stream, "modality": modality, "encoder": config.encoder}, self.store)

    def find(self, entry: StoreEntry) -> tuple[Tensor, list[str]] | None:
        """Features (T, N, C) of a row and the notes that were kept with them; None if they must be computed."""
        if entry.key in self._made:
            return None
        known = self.store.get(entry.key)
        if known is None:
            return None
        self.counts.known += 1
        return known["values"], list(self.store.info(entry.key).get("notes", []))

    def make(
        self, entry: StoreEntry, values: Callable[[], Tensor], notes: Callable[[], list[str]]
    ) -> tuple[Tensor, list[str]]:
        """The encoder's input (T, …) of a row, computed once per batch, and its notes, which are read after it."""
        if entry.key in self._made:
            self.counts.known += 1
        else:
            self.counts.computed += 1
            self._made[entry.key] = values(), notes()
        return self._made[entry.key]


class CacheFolder:
    """A folder of features, with what is known of the weights that made them.

    Features that are still in memory are written when this object goes, is closed, or the process ends.
    """

    def __init__(self, folder: str | Path) -> None:
        self.store = FeatureStore(Path(folder))
        self._fingerprints = Fingerprints()
        self._finalizer = weakref.finalize(self, self.store.close)

    def look_up(self, spec: ModelSpec, encoders: Mapping[str, nn.Module], dtype: torch.dtype) -> FeatureCache:
        """The look-up for a model of `dtype` whose encoders have their present weights."""
        return FeatureCache.of(self.store, spec, encoders, dtype, self._fingerprints)

    def close(self) -> None:
        """Write what is still in memory; raises StoreError if the disk refuses it, which loses nothing."""
        self.store.close()
        self._finalizer.detach()


def is_frozen(encoder: nn.Module) -> bool:
    """Whether no parameter of `encoder` is trainable, and no part of it is in training mode (it may drop out)."""
    is_training = any(module.training for module in encoder.modules())
    return not is_training and not any(p.requires_grad for p in encoder.parameters())


def _weights(module: nn.Module, *, all_buffers: bool = False) -> list[tuple[str, Tensor]]:
    """Tensors that are saved; with `all_buffers` also those that are not, but decide the output just as well."""
    extra = dict(module.named_buffers(remove_duplicate=False)) if all_buffers else {}
    return sorted((extra | module.state_dict(keep_vars=True)).items())


def module_fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and saved buffers."""
    return _fingerprint(_weights(module))


def _fingerprint(tensors: list[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in _plain(tensors):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(tensors: list[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors, and instead of one that wraps others (quantized weights) those inside."""
    for name, tensor in tensors:
        if is_traceable_wrapper_subclass(tensor):
            inner, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
            yield from _plain([(f"{name}.{part}", getattr(tensor, part)) for part in inner])
        else:
            yield name, tensor
