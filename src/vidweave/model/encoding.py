"""The one place that encodes: all rows of a stream in one batch, streams side by side, new features into the store."""

# Axes: E rows to encode, U different ones among them, R all rows, T time steps, N tokens, C encoder width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidweave.errors import ModalityError, NonFiniteError
from vidweave.model.cache import is_frozen
from vidweave.model.config import ModelSpec
from vidweave.model.pool import pool_seconds, pool_tokens
from vidweave.model.side_by_side import encode_side_by_side
from vidweave.nn.numbers import floating_dtype, require_finite
from vidweave.types import Features, StreamInputs

__all__ = ["StreamEncoder"]


@dataclass(frozen=True, eq=False)
class StreamEncoder:
    """Turn the inputs of streams into features with the encoders of one model.

    Media are encoded in the dtype of the encoder's weights; features come out in the dtype of the model. Rows that say
    where their features are to be kept (`StoreEntry.store`) have them stored.
    """

    spec: ModelSpec
    encoders: nn.ModuleDict
    device: torch.device
    dtype: torch.dtype

    def encode(self, inputs: Mapping[str, StreamInputs]) -> dict[str, Features]:
        """Features of several streams, side by side where the device can; those of new rows are stored.

        Raises:
            NonFiniteError: NaN or infinity in features, or in the media or given features that they were made of.
        """
        features = encode_side_by_side(lambda name: self.encode_stream(name, inputs[name]), list(inputs), self.device)
        try:
            require_finite("features of stream {part!r}", {n: (f.values, f.mask) for n, f in features.items()})
        except NonFiniteError:  # find the cause only when there is one
            given = {n: stream.values for n, stream in inputs.items() if stream.values is not None}
            require_finite("media of stream {part!r}", {n: (v, inputs[n].mask) for n, v in given.items()})
            raise
        for name, stream in inputs.items():
            self._keep(name, stream, features[name])
        return features

    def encode_stream(self, name: str, inputs: StreamInputs) -> Features:
        """Features of one stream, by (item, scene): through its encoder and its pooling, unless they are known already."""
        parts = [] if inputs.values is None else [self._encode(name, inputs, inputs.values)]
        if inputs.features is not None:
            parts.append(self._known(name, inputs.features))
        return parts[0] if len(parts) == 1 else _join(parts)

    def _encode(self, name: str, inputs: StreamInputs, values: Tensor) -> Features:
        stream = self.spec.streams[name]
        encoder: Any = self.encoders[stream.encoder]
        first, same = _different(inputs)
        values = (values if first is None else values[first]).to(self.device)
        if values.is_floating_point():
            values = values.to(floating_dtype(encoder, self.dtype))
        is_trainable = torch.is_grad_enabled() and any(p.requires_grad for p in encoder.parameters())
        with torch.set_grad_enabled(is_trainable):
            tokens = pool_tokens(encoder.encode(values, inputs.modality), stream.pool).to(self.dtype)
        tokens = tokens if same is None else tokens[same]
        seconds, mask = pool_seconds(inputs.seconds.to(self.device), inputs.mask.to(self.device), stream.pool)
        mask = mask[:, :, None].expand(tokens.shape[:3])
        return Features(tokens, mask, seconds, inputs.item.to(self.device), inputs.scene.to(self.device))

    def _known(self, name: str, given: Features) -> Features:
        encoder = self.spec.streams[name].encoder
        width = self.encoders[encoder].width
        if given.values.shape[-1] != width:
            raise ModalityError(
                f"features given for stream {name!r} are {given.values.shape[-1]} wide, those of encoder {encoder!r} {width}"
            )
        moved = given.to(self.device)
        return Features(moved.values.to(self.dtype), moved.mask, moved.seconds, moved.item, moved.scene)

    def _keep(self, name: str, inputs: StreamInputs, features: Features) -> None:
        """Store the features of new rows, without their padding in time."""
        if not inputs.entries or not is_frozen(self.encoders[self.spec.streams[name].encoder]):
            return
        rows = {pair: row for row, pair in enumerate(_pairs(features))}
        for entry, pair in {
            entry.key: (entry, pair) for entry, pair in zip(inputs.entries, _pairs(inputs), strict=True)
        }.values():
            if entry.store is None:
                continue
            row = rows[pair]
            length = int(features.mask[row, :, 0].sum())
            entry.store.put(entry.key, {"values": features.values[row, :length].detach()}, entry.info)


def _different(inputs: StreamInputs) -> tuple[list[int] | None, list[int] | None]:
    """Rows to encode so that none is encoded twice (U), and for each row (E) which of these it is; None: all of them."""
    keys: list[Any] = [entry.key for entry in inputs.entries] or list(inputs.same)
    order = list(dict.fromkeys(keys))
    if len(order) == len(keys):
        return None, None
    return [keys.index(key) for key in order], [order.index(key) for key in keys]


def _pairs(rows: Features | StreamInputs) -> list[tuple[int, int]]:
    return list(zip(rows.item.tolist(), rows.scene.tolist(), strict=True))


def _join(parts: Sequence[Features]) -> Features:
    """Rows of all parts, padded in time, in order of (item, scene)."""
    pairs = [pair for part in parts for pair in _pairs(part)]
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    steps = max(part.values.shape[1] for part in parts)

    def join(name: str) -> Tensor:
        tensors = [getattr(part, name) for part in parts]
        if name not in ("item", "scene"):
            tensors = [_padded(tensor, steps) for tensor in tensors]
        return torch.cat(tensors)[order]

    return Features(join("values"), join("mask"), join("seconds"), join("item"), join("scene"))


def _padded(rows: Tensor, steps: int) -> Tensor:
    """(R, T, …) → (R, steps, …) with zeros."""
    padded = rows.new_zeros(rows.shape[0], steps, *rows.shape[2:])
    padded[:, : rows.shape[1]] = rows
    return padded
