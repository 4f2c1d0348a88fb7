"""Number of segments of each block, computed from the configuration before any tensor exists, so that prompts can be
planned by data workers without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vidweave.types import HasMemory, MergesTime

if TYPE_CHECKING:
    from vidweave.connectors.connector import ConnectorConfig

__all__ = ["block_segments", "stream_counts"]

Pair = tuple[int, int]


def block_segments(
    config: ConnectorConfig, lengths: Mapping[tuple[str, int, int], int], pairs: Iterable[Pair]
) -> dict[tuple[str, int, int], int]:
    """(stream, item, scene) → segments of the stream's features, as (block, item, scene) → segments of the block.

    Agrees with the output of `Connector.read` for such features; pairs that lack a required stream are left out.
    """
    result: dict[tuple[str, int, int], int] = {}
    for item, scene in pairs:
        counts = stream_counts(config, {name: lengths.get((name, item, scene), 0) for name in config.ports})
        result |= {(block, item, scene): count for block, count in config.fusion.block_counts(counts).items() if count}
    return result


def stream_counts(config: ConnectorConfig, lengths: Mapping[str, int]) -> dict[str, int]:
    """Segments that each port gives for one (item, scene) pair."""
    counts = {}
    for name, port in config.ports.items():
        if lengths[name]:
            counts[name] = 1 if _is_one_segment(config, name) else lengths[name] // _time(config, name)
        elif port.absent in ("error", "skip"):
            counts[name] = 0
        else:
            counts[name] = 1 if _is_one_segment(config, name) else _times_of_others(config, name, lengths)
    return counts


def _times_of_others(config: ConnectorConfig, name: str, lengths: Mapping[str, int]) -> int:
    """An absent stream takes the times of the first other one that has segments, else one for the whole clip."""
    others = (n for n in config.ports if n != name and not _is_one_segment(config, n) and lengths[n])
    return next((lengths[other] // _time(config, other) for other in others), 1)


def _is_one_segment(config: ConnectorConfig, name: str) -> bool:
    port, trunk = config.ports[name], config.trunks[config.ports[name].trunk]
    if isinstance(trunk, HasMemory) and trunk.has_memory:
        return True
    return port.span == "clip" and not isinstance(trunk, MergesTime)


def _time(config: ConnectorConfig, name: str) -> int:
    """Segments that the port's trunk merges to one."""
    trunk = config.trunks[config.ports[name].trunk]
    return trunk.time if isinstance(trunk, MergesTime) else 1
