"""How many frames each stream of a model sees: one number for all, or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.types import FrameNeed

__all__ = ["FrameCounts", "counts_by_stream", "with_count"]

FrameCounts = int | Sequence[int] | Mapping[str, int]
"""One number for every stream, one for each in their order, or numbers by name of stream."""


def counts_by_stream(requested: Any, needs: Mapping[str, FrameNeed]) -> dict[str, int]:
    """Stream → number of frames, for every stream of `needs` whose number was set.

    Raises:
        ConfigError: no number of frames, or a list of another length than there are streams.
        UnknownNameError: a number for a stream that the model does not have, or whose number is fixed.
    """
    if requested is None:
        return {}
    free = [name for name, need in needs.items() if need.num_frames is not None]
    if isinstance(requested, Mapping):
        for name in requested:
            if name not in free:
                raise UnknownNameError("stream with a number of frames", str(name), free)
        return {name: _checked(count) for name, count in requested.items()}
    if isinstance(requested, Sequence) and not isinstance(requested, str):
        if len(requested) != len(free):
            raise ConfigError(
                f"num_frames has {len(requested)} numbers, the model has {len(free)} streams whose number can be set "
                f"({', '.join(free) or 'none'}); give one for each, or a single number"
            )
        return dict(zip(free, map(_checked, requested), strict=True))
    return dict.fromkeys(free, _checked(requested))


def with_count(need: FrameNeed, count: int | None) -> FrameNeed:
    """`need` with another number of frames, if there is one."""
    return need if count is None else replace(need, num_frames=count)


def _checked(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise ConfigError(
            "num_frames must be a whole number, a list with one for each stream, or a mapping of streams to numbers; "
            f"got {count!r}"
        )
    if count < 1:
        raise ConfigError(f"num_frames must be at least 1, got {count}")
    return int(count)
