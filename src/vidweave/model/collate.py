"""Rows of scenes → padded batches of streams."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidweave.errors import ModalityError, ShapeError
from vidweave.model.gather import StreamRow
from vidweave.types import Features, StreamInputs

__all__ = ["collate_stream"]


def collate_stream(name: str, rows: Sequence[tuple[int, int, StreamRow]]) -> StreamInputs:
    """(item, scene, row) triples of one stream → StreamInputs, padded in time with zeros and False.

    Raises:
        ModalityError: rows of several modalities in one batch of one stream.
        ShapeError: rows whose time steps have different shapes.
    """
    modalities = {row.modality for _, _, row in rows}
    if len(modalities) > 1:
        raise ModalityError(
            f"stream {name!r} gets {' and '.join(sorted(modalities))} in one batch; put them in separate batches"
        )
    modality = modalities.pop()
    to_encode = [(i, s, row) for i, s, row in rows if row.features is None]
    known = [(i, s, row) for i, s, row in rows if row.features is not None]
    features = _features(name, known) if known else None
    if not to_encode:
        assert features is not None
        return StreamInputs(
            None, features.mask.any(2), features.seconds, features.item, features.scene, modality, features
        )
    values = _pad(name, [row.values for _, _, row in to_encode if row.values is not None])
    entries = tuple(row.entry for _, _, row in to_encode if row.entry is not None)
    return StreamInputs(values, *_times(name, to_encode), modality, features, entries, _same(to_encode))


def _same(rows: Sequence[tuple[int, int, StreamRow]]) -> tuple[int, ...]:
    """For each row the first that holds the same tensor, as rows of one clip do; empty if all differ."""
    first: dict[int, int] = {}
    result = tuple(first.setdefault(id(row.values), number) for number, (_, _, row) in enumerate(rows))
    return result if len(first) < len(rows) else ()


def _features(name: str, rows: Sequence[tuple[int, int, StreamRow]]) -> Features:
    mask, seconds, item, scene = _times(name, rows)
    values = _pad(name, [row.features for _, _, row in rows if row.features is not None])
    return Features(values, mask[:, :, None].expand(values.shape[:3]), seconds, item, scene)


def _times(name: str, rows: Sequence[tuple[int, int, StreamRow]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mask (R, T), seconds (R, T, 2), item (R,) and scene (R,)."""
    seconds = _pad(name, [row.seconds for _, _, row in rows])
    lengths = torch.tensor([len(row.seconds) for _, _, row in rows])
    mask = torch.arange(seconds.shape[1])[None] < lengths[:, None]
    return mask, seconds, torch.tensor([i for i, _, _ in rows]), torch.tensor([s for _, s, _ in rows])


def _pad(stream: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) > 1:
        raise ShapeError(
            f"stream {stream!r} gets segments of the shapes {sorted(shapes)} in one batch; put them in separate batches"
        )
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)
