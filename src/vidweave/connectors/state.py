"""State of a connector: plain values of the clips pushed so far, passed in and returned."""

# Axes: P (item, scene) pairs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from vidweave.connectors.memory import MemoryState
from vidweave.types import Blocks, Features, TextTokens

__all__ = ["ConnectorState"]


@dataclass(frozen=True, eq=False)
class ConnectorState:
    """Everything pushed so far, in the form in which it will be read.

    Attributes:
        item, scene: (P,) the pairs given to `begin`, in the order of the blocks' rows.
        text: One row per item.
        blocks: Port → tokens of the segments seen (`span="group"`).
        features: Port → features seen (`span="clip"`: the trunk runs at reading).
        memories: Trunk → its memory.
    """

    item: Tensor
    scene: Tensor
    text: TextTokens | None = None
    blocks: Mapping[str, Blocks] = field(default_factory=lambda: MappingProxyType({}))
    features: Mapping[str, Features] = field(default_factory=lambda: MappingProxyType({}))
    memories: Mapping[str, MemoryState] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.item)
