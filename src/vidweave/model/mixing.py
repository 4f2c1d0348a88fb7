"""Train a selector through the answer: encode all its candidates, and mix their features into the selected timestamps.

At inference, frames are decoded only at the selected timestamps. In training the weights of the candidates (`Selection.mix`)
must reach the loss, so every candidate's features are there, and k weighted sums of them go on to the connector.
"""

# Axes: R rows of a stream, C candidates, k timestamps, n segments that the stream needs, N tokens, W width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vidweave.errors import ConfigError
from vidweave.media.plan import spread
from vidweave.model.config import StreamConfig
from vidweave.model.prepared import Prepared
from vidweave.nn.span_selection import candidate_weights, thin
from vidweave.types import Features, FrameNeed, Selection

__all__ = ["every_candidate", "mix_timestamps", "mixed_segments", "mixed_needs"]


def every_candidate(prepared: Prepared, k: int, *, limit: int | None = None) -> Selection:
    """The selection to fetch for training through the answer: all candidates, at most `limit`, evenly mixed into k.

    It does not depend on any weight, so data workers can compute it; the model selects again in training.
    """
    candidates, mask = prepared.candidates, prepared.mask
    if limit is not None and candidates.shape[1] > limit:
        candidates = candidates.gather(1, thin(mask, limit))
        mask = torch.arange(limit) < mask.sum(1, keepdim=True)
    mix = candidate_weights(mask.float(), mask, k)
    has_any = mask.any(1, keepdim=True)
    seconds = (mix.double() @ candidates[..., None])[..., 0]
    return Selection(
        seconds=seconds,
        mask=has_any.expand(-1, k),
        spans=torch.stack([seconds[:, :1], seconds[:, -1:]], -1),
        mix=mix,
        candidates=candidates,
        candidate_mask=mask,
        item=prepared.item,
        scene=prepared.scene,
        reason="every candidate",
    )


def mixed_needs(needs: Mapping[str, FrameNeed], streams: Mapping[str, StreamConfig]) -> dict[str, FrameNeed]:
    """Return needs with one segment per candidate.

    Raises:
        ConfigError: a stream whose segments are joined over time, which cannot be mixed afterwards.
    """
    for name, need in needs.items():
        pool = streams[name].pool
        if need.follow_selection and pool is not None and pool.time > 1:
            raise ConfigError(f"stream {name!r} joins {pool.time} segments, so its candidates cannot be mixed")
    return {n: replace(need, num_frames=None, fps=None) if need.follow_selection else need for n, need in needs.items()}


def mixed_segments(need: FrameNeed, k: int) -> int:
    """Number of segments that a stream gets from k timestamps."""
    return k if need.num_frames is None else max(1, need.num_frames // need.window)


def mix_timestamps(features: Features, selection: Selection, need: FrameNeed) -> Features:
    """Features (R, C, N, W) of all candidates → (R, n, N, W): weighted sums, with the gradient of the weights."""
    mix, seen = _rows(features, selection)
    mix = mix[:, torch.from_numpy(spread(mixed_segments(need, mix.shape[1]), mix.shape[1]))]
    mix = mix[..., : features.values.shape[1]]
    real = features.mask[..., None]
    values = torch.einsum("rkc,rcnw->rknw", mix.to(features.values.dtype), features.values.masked_fill(~real, 0.0))
    nearest = mix.argmax(-1)
    seconds = features.seconds.gather(1, nearest[..., None].expand(-1, -1, 2))
    mask = features.mask.gather(1, nearest[..., None].expand(-1, -1, features.mask.shape[2])) & seen[:, None, None]
    return Features(values, mask, seconds, features.item, features.scene)


def _rows(features: Features, selection: Selection) -> tuple[Tensor, Tensor]:
    """Weights (R, k, C) of the rows of `features`, and whether they chose anything (R,)."""
    assert selection.mix is not None
    assert selection.item is not None
    assert selection.scene is not None
    pairs = zip(selection.item.tolist(), selection.scene.tolist(), strict=True)
    where = {pair: row for row, pair in enumerate(pairs)}
    rows = [where[pair] for pair in zip(features.item.tolist(), features.scene.tolist(), strict=True)]
    index = torch.tensor(rows, dtype=torch.long, device=selection.mix.device)
    return selection.mix[index].to(features.values.device), selection.mask.any(1)[index].to(features.values.device)
