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
        ModalityError: rows of several modalities, or features and raw media, in one batch of one stream.
        ShapeError: features whose groups have different shapes.
    """
    modalities = {row.modality for _, _, row in rows}
    if len(modalities) > 1:
        raise ModalityError(
            f"stream {name!r} gets {' and '.join(sorted(modalities))} in one batch; ask them in separate batches"
        )
    has_features = {row.features is not None for _, _, row in rows}
    if len(has_features) > 1:
        raise ModalityError(f"stream {name!r} gets features and raw media in one batch; ask them in separate batches")
    item = torch.tensor([i for i, _, _ in rows])
    scene = torch.tensor([s for _, s, _ in rows])
    seconds = _pad(name, [row.seconds for _, _, row in rows])
    lengths = torch.tensor([len(row.seconds) for _, _, row in rows])
    mask = torch.arange(seconds.shape[1])[None] < lengths[:, None]
    modality = modalities.pop()
    if has_features.pop():
        values = _pad(name, [row.features for _, _, row in rows if row.features is not None])
        features = Features(values, mask[:, :, None].expand(values.shape[:3]), seconds, item, scene)
        return StreamInputs(None, mask, seconds, item, scene, modality, features)
    values = _pad(name, [row.values for _, _, row in rows if row.values is not None])
    return StreamInputs(values, mask, seconds, item, scene, modality)


def _pad(stream: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) > 1:
        raise ShapeError(f"stream {stream!r} gets groups of the shapes {sorted(shapes)} in one batch; ask them apart")
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)
