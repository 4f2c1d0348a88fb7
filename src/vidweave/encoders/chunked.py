"""Shared encoder steps: check the modality, flatten rows and time steps, encode in chunks."""

# Axes: R rows, T time steps, N tokens, C width

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vidweave.errors import ModalityError

__all__ = ["check_modality", "encode_steps"]


def check_modality(modality: str, known: Iterable[str], what: str) -> None:
    """Raise ModalityError unless the encoder has a spec for `modality`."""
    known = sorted(known)
    if modality not in known:
        raise ModalityError(
            f"this {what} encoder supports {', '.join(known) or 'nothing (it has no specs)'}, not {modality!r}; "
            f"add a preprocessing spec for it, or route the modality to another encoder"
        )


def encode_steps(network: Callable[[Tensor], Tensor], values: Tensor, chunk: int | None) -> Tensor:
    """Run `network` (R * T, *payload) → (R * T, N, C) over all time steps of all rows, at most `chunk` at a time.

    Args:
        values: (R, T, *payload).
        chunk: None encodes everything at once; the result is the same, but the peak memory differs.

    Returns:
        (R, T, N, C).
    """
    rows, steps = values.shape[:2]
    flat = values.flatten(0, 1)
    if chunk is None or len(flat) <= chunk:
        tokens = network(flat)
    else:
        tokens = torch.cat([network(part) for part in flat.split(chunk)])
    return tokens.unflatten(0, (rows, steps))
