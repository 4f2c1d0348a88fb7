"""Frozen features are computed once: known rows come from the feature store, unknown ones are encoded and stored."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vidweave.media.store import FeatureStore, store_key
from vidweave.model.pool import pool_tokens
from vidweave.nn.numbers import floating_dtype, require_finite
from vidweave.types import config_to_dict

if TYPE_CHECKING:
    from vidweave.model.config import ModelSpec

__all__ = ["FeatureCache", "Fingerprints", "module_fingerprint"]


class Fingerprints:
    """Fingerprints of modules by name; one is computed again only after a weight was replaced or written to."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[Any], str]] = {}

    def of(self, name: str, module: nn.Module) -> str:
        """The fingerprint of `module`, which goes by `name`."""
        tensors = _weights(module, all_buffers=True)
        stamp = [(key, t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version) for key, t in tensors]
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = (stamp, _fingerprint(tensors))
        return known[1]


class FeatureCache:
    """The feature store as seen by one model.

    A stream is served only while no parameter of its encoder learns. The key of a row is made of the content's hash,
    the decode plan, preprocessing, pooling and the encoder's fingerprint: never of the question or the connector.
    """

    def __init__(
        self,
        store: FeatureStore,
        spec: ModelSpec,
        encoders: Mapping[str, nn.Module],
        device: Any,
        dtype: Any,
        fingerprints: Fingerprints,
    ) -> None:
        self.store = store
        self._spec = spec
        self._encoders = encoders
        self._device = device
        self._dtype = dtype
        self._fingerprints = fingerprints
        self._at_rest: dict[str, Any] | None = None

    def at_rest(self) -> FeatureCache:
        """The same for a time in which no weight changes, such as one batch: it looks at each encoder once."""
        held = copy.copy(self)
        held._at_rest = {}
        return held

    def counts(self) -> dict[str, int]:
        """Rows of streams that were known, and that had to be computed, since the store was opened."""
        stats = self.store.stats()
        return {"known": stats.num_hits, "computed": stats.num_misses}

    def serves(self, stream: str) -> bool:
        """Whether the stream's encoder is frozen, so that its features may be stored."""
        name = self._spec.streams[stream].encoder
        return self._once(f"{name} is frozen", lambda: _is_frozen(self._encoders[name]))

    def get_or_encode(
        self,
        stream: str,
        modality: str,
        parts: dict[str, Any],
        values: Callable[[], Tensor],
        notes: Callable[[], list[str]] = list,
    ) -> tuple[Tensor, list[str]]:
        """Features (T, N, C) of one row, and what the user should know of how they were made.

        `values` makes the encoder's input (T, …) if they are not known yet; `notes` is asked after it, and what it says
        is kept beside the features.
        """
        config = self._spec.streams[stream]
        pool = config_to_dict(config.pool)
        key = store_key(**parts, pool=pool, encoder=self._fingerprint(config.encoder), dtype=str(self._dtype))
        known = self.store.get(key)
        if known is not None:
            return known["values"], list(self.store.info(key).get("notes", []))
        encoder: Any = self._encoders[config.encoder]
        pixels = values()[None].to(self._device)
        pixels = pixels.to(floating_dtype(encoder, self._dtype)) if pixels.is_floating_point() else pixels
        with torch.no_grad():
            features = pool_tokens(encoder.encode(pixels, modality), config.pool)[0].to(self._dtype).cpu()
        require_finite("media of stream {part!r}", {stream: (pixels, None)})
        require_finite("features of stream {part!r}", {stream: (features, None)})
        told = notes()
        about = {"stream": stream, "modality": modality, "encoder": config.encoder, **({"notes": told} if told else {})}
        self.store.put(key, {"values": features}, about)
        return features, told

    def _fingerprint(self, encoder: str) -> str:
        def look() -> str:
            weights = self._fingerprints.of(encoder, self._encoders[encoder])
            return store_key(config=config_to_dict(self._spec.encoders[encoder]), weights=weights)

        return self._once(encoder, look)

    def _once(self, what: str, look: Callable[[], Any]) -> Any:
        if self._at_rest is None:
            return look()
        if what not in self._at_rest:
            self._at_rest[what] = look()
        return self._at_rest[what]


def _is_frozen(encoder: nn.Module) -> bool:
    is_training = any(module.training for module in encoder.modules())  # a part of it may drop out
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
    for name, tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
