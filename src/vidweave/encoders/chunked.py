"""What every encoder does around its network: check the modality, flatten rows and groups, encode in chunks."""

# Axes: R rows, T groups in time, N tokens, C width

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vidweave.errors import ModalityError

__all__ = ["check_modality", "encode_groups"]


def check_modality(modality: str, known: Iterable[str], what: str) -> None:
    """Raise ModalityError unless `modality` is one that the encoder has a spec for."""
    known = sorted(known)
    if modality not in known:
        raise ModalityError(
            f"this {what} encoder sees {', '.join(known) or 'nothing (it has no specs)'}, not {modality!r}; "
            f"add a preprocessing spec for it, or route the modality to another encoder"
        )


def encode_groups(network: Callable[[Tensor], Tensor], values: Tensor, chunk: int | None) -> Tensor:
    """Run `network` (G, *payload) → (G, N, C) over all groups of all rows, at most `chunk` groups at a time.

    Args:
        values: (R, T, *payload).
        chunk: None encodes everything at once; the result is the same, the peak memory differs.

    Returns:
        (R, T, N, C).
    """
    rows, groups = values.shape[:2]
    flat = values.flatten(0, 1)
    if chunk is None or len(flat) <= chunk:
        tokens = network(flat)
    else:
        tokens = torch.cat([network(part) for part in flat.split(chunk)])
    return tokens.unflatten(0, (rows, groups))
