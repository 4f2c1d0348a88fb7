"""Fill in zeros or learned tokens for streams that an (item, scene) pair does not have."""

# Axes: P (item, scene) pairs, T segments, S segments of the other streams, Q tokens, D width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from vidweave.connectors.ports import Port
from vidweave.connectors.segments import first_times, real_segments, whole_span
from vidweave.errors import ModalityError
from vidweave.types import Blocks

__all__ = ["absent_pairs", "drop_empty", "fill_absent"]


def absent_pairs(blocks: Blocks) -> Tensor:
    """(P,) True where the stream has no segment."""
    return ~real_segments(blocks).any(1)


def fill_absent(
    blocks: Mapping[str, Blocks], ports: Mapping[str, Port], one_segment: frozenset[str]
) -> dict[str, Blocks]:
    """Put zeros or learned tokens where a stream is absent, at the times of the pair's other streams.

    Args:
        one_segment: Ports that give one segment per clip, whatever its length; the others give one per segment.

    Raises:
        ModalityError: a port does not allow its stream to be absent; names stream, item and scene.
    """
    filled = dict(blocks)
    for name, port in ports.items():
        absent = absent_pairs(blocks[name])
        if not bool(absent.any()) or port.absent == "skip":
            continue
        if port.absent == "error":
            _refuse(name, blocks[name], absent)
        seconds, real = _times(blocks, name, one_segment)
        filled[name] = _fill(blocks[name], absent, port, seconds, real)
    return filled


def drop_empty(blocks: Blocks) -> Blocks:
    """Drop the rows without tokens: an absent stream needs no place in the prompt."""
    rows = ~absent_pairs(blocks)
    if bool(rows.all()):
        return blocks
    return Blocks(blocks.values[rows], blocks.mask[rows], blocks.seconds[rows], blocks.item[rows], blocks.scene[rows])


def _refuse(name: str, blocks: Blocks, absent: Tensor) -> None:
    row = int(absent.nonzero()[0])
    raise ModalityError(
        f"stream {name!r} is missing for item {int(blocks.item[row])}, scene {int(blocks.scene[row])}; give that "
        f"modality, or a port with absent='zero', 'learned' or 'skip'"
    )


def _times(blocks: Mapping[str, Blocks], name: str, one_segment: frozenset[str]) -> tuple[Tensor, Tensor]:
    """seconds (P, S, 2) and real (P, S): the segments of each pair's first other stream that has any; if there is none,
    or the port gives one segment per clip, one segment from the first start to the last end of all streams."""
    everything = list(blocks.values())
    spans = whole_span(
        torch.cat([b.seconds for b in everything], 1), torch.cat([real_segments(b) for b in everything], 1)
    )
    longest = max(1, *(b.mask.shape[1] for b in everything))
    span = functional.pad(spans[:, None], (0, 0, 0, longest - 1))
    one = torch.arange(longest, device=span.device).expand(len(span), -1) == 0
    others = [block for other, block in blocks.items() if other != name and other not in one_segment]
    if name in one_segment or not others:
        return span, one
    seconds, real, result = first_times(others, longest)
    return torch.where(result[:, None, None], seconds, span), torch.where(result[:, None], real, one)


def _fill(blocks: Blocks, absent: Tensor, port: Port, seconds: Tensor, real: Tensor) -> Blocks:
    """Rows of `absent` get the port's tokens at each real time; the other rows stay as they are."""
    segments = max(blocks.values.shape[1], int(real[absent].sum(1).max()))
    tokens = max(blocks.values.shape[2], port.num_absent_tokens)
    more_segments, more_tokens = segments - blocks.values.shape[1], tokens - blocks.values.shape[2]
    values = functional.pad(blocks.values, (0, 0, 0, more_tokens, 0, more_segments))
    mask = functional.pad(blocks.mask, (0, more_tokens, 0, more_segments))
    times = functional.pad(blocks.seconds, (0, 0, 0, more_segments))
    seconds, real = _resize(seconds, segments), _resize(real, segments)
    is_token = torch.arange(tokens, device=mask.device) < port.num_absent_tokens
    put = absent[:, None, None] & real[..., None] & is_token
    if port.absent_tokens is not None:
        learned = functional.pad(port.absent_tokens.to(values.dtype), (0, 0, 0, tokens - port.num_absent_tokens))
        values = torch.where(put[..., None], learned, values)
    return replace(blocks, values=values, mask=mask | put, seconds=torch.where(absent[:, None, None], seconds, times))


def _resize(values: Tensor, segments: int) -> Tensor:
    """Cut or pad axis 1 to `segments`."""
    pad = [0, 0] * (values.ndim - 2) + [0, max(0, segments - values.shape[1])]
    return functional.pad(values, pad)[:, :segments]
