"""Split a list of questions into contiguous chunks, one per worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vidweave.errors import ConfigError

__all__ = ["contiguous_chunks"]

Item = TypeVar("Item")


def contiguous_chunks(items: Sequence[Item], num_chunks: int) -> list[list[Item]]:
    """Split `items` into chunks of ceil(n / num_chunks) in order; there may be fewer chunks (5 items in 4: 3 chunks).

    Raises:
        ConfigError: `num_chunks` is below 1.

    Source: MERV's evaluation scripts (spec 4.5).
    """
    if num_chunks < 1:
        raise ConfigError(f"num_chunks must be at least 1, got {num_chunks}")
    size = max(1, -(-len(items) // num_chunks))
    return [list(items[first : first + size]) for first in range(0, len(items), size)]
