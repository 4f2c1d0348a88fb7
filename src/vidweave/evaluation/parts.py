"""Divide the questions of a task: into parts for several processes, and into batches for one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vidweave.errors import ConfigError

__all__ = ["batches_by_recording", "in_shard", "recordings_of"]


def recordings_of(task: Any, number: int) -> list[str]:
    """Return the recording of each of the first `number` questions; without `task.recordings`, each has its own."""
    recordings = getattr(task, "recordings", None)
    return [str(i) for i in range(number)] if recordings is None else list(recordings())[:number]


def in_shard(recordings: Sequence[str], shard: tuple[int, int] | None) -> list[int]:
    """Return the positions of the questions in a part: recording j, in order of first appearance, is in part j modulo n.

    Raises:
        ConfigError: Not 0 <= i < n, or the part has no questions.
    """
    if shard is None:
        return list(range(len(recordings)))
    index, number = shard
    if not 0 <= index < number:
        raise ConfigError(f"a shard is i/n with i from 1 to n, got {index + 1}/{number}")
    place = {name: j for j, name in enumerate(dict.fromkeys(recordings))}
    positions = [i for i, name in enumerate(recordings) if place[name] % number == index]
    if not positions:
        raise ConfigError(f"shard {index + 1}/{number} has no questions; there are {len(place)} recordings")
    return positions


def batches_by_recording(
    todo: Sequence[int], recordings: Sequence[str], batch_size: int, sizes: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Yield batches of at most `batch_size` positions; a recording is split only if it exceeds a batch.

    Args:
        sizes: Length of each question. Recordings with long questions come first, so that a batch holds questions of
            similar length and a batch that does not fit into memory is met early. Without it, order is kept.
    """
    groups: dict[str, list[int]] = {}
    for i in todo:
        groups.setdefault(recordings[i], []).append(i)
    ordered = list(groups.values())
    if sizes is not None:
        longest: dict[str, int] = {}  # over all questions, so that the order of a resumed run is the same
        for name, size in zip(recordings, sizes, strict=True):
            longest[name] = max(size, longest.get(name, 0))
        ordered.sort(key=lambda members: -longest[recordings[members[0]]])
    batch: list[int] = []
    for members in ordered:
        if batch and len(batch) + len(members) > batch_size:
            yield batch
            batch = []
        batch += members
        while len(batch) > batch_size:
            yield batch[:batch_size]
            batch = batch[batch_size:]
    if batch:
        yield batch
