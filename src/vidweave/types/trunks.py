"""Trunks of a connector: their input, and small protocols of optional abilities."""

# Axes: R rows, T time steps, K keys, C key width, Q query tokens, H trunk width, L text tokens

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vidweave.errors import ShapeError
from vidweave.types.summary import Summarized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from vidweave.types.specs import TextSpec

__all__ = [
    "HasMemory",
    "KeepsMemory",
    "MergesTime",
    "ReadsText",
    "RoutesExperts",
    "SeesClips",
    "TakesAdapters",
    "Trunk",
    "TrunkInput",
    "text_spec_of",
]


@dataclass(frozen=True, eq=False, repr=False)
class TrunkInput(Summarized):
    """One pass through a trunk: R rows, each with its own keys, query tokens, text and adapter.

    Attributes:
        queries: (R, Q, H) query tokens; None for a trunk that takes none.
        keys: (R, K, C); several time steps (R, T, K, C) for `KeepsMemory.commit`.
        mask: (R, K) or (R, T, K) bool, True where a key is real. None: all are.
        text: (R, L) token ids.
        text_mask: (R, L) bool.
        adapter: (R,) int64, the index of the row's port among the ports of the connector.
    """

    queries: Tensor | None
    keys: Tensor
    mask: Tensor | None = None
    text: Tensor | None = None
    text_mask: Tensor | None = None
    adapter: Tensor | None = None

    def __post_init__(self) -> None:
        parts = {"queries": self.queries, "mask": self.mask, "text": self.text, "adapter": self.adapter}
        for name, part in parts.items():
            if part is not None and len(part) != len(self.keys):
                raise ShapeError(
                    f"TrunkInput.{name} must have one row per row of keys ({len(self.keys)}), got {tuple(part.shape)}"
                )

    def steps(self, steps: slice) -> TrunkInput:
        """The same rows with some of their time steps (R, T, K, C)."""
        return self.with_keys(self.keys[:, steps], None if self.mask is None else self.mask[:, steps])

    def step(self, index: int) -> TrunkInput:
        """The same rows with one time step: keys (R, T, K, C) → (R, K, C)."""
        return self.with_keys(self.keys[:, index], None if self.mask is None else self.mask[:, index])

    def with_keys(self, keys: Tensor, mask: Tensor | None) -> TrunkInput:
        """The same rows with other keys."""
        return replace(self, keys=keys, mask=mask)


class Trunk(Protocol):
    """Compute few tokens from many; built once by name, shared by the ports of many streams."""

    key_width: int  # C
    width: int  # H
    query_width: int | None  # of query tokens; None takes none and returns one token per key

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Hidden states (R, Q + L, H), or (R, K, H) without query tokens."""
        ...


@runtime_checkable
class ReadsText(Protocol):
    """Reads the question: a trunk, a selector, or the configuration of one."""

    @property
    def text_spec(self) -> TextSpec | None:
        """Tokenization of the text; None if it reads no text."""
        ...


@runtime_checkable
class HasMemory(Protocol):
    """Configuration of a trunk that may keep a memory: prompts are planned from it, without building the trunk."""

    @property
    def has_memory(self) -> bool:
        """Whether all time steps of a clip become one block of tokens."""
        ...


@runtime_checkable
class MergesTime(Protocol):
    """A trunk that can merge neighboring time steps of a clip, or the configuration of one."""

    @property
    def needs_clip(self) -> bool:
        """Whether it must see neighboring time steps, so that the span of its ports must be `clip`."""
        ...

    @property
    def time(self) -> int:
        """Number of neighboring time steps that are merged into one."""
        ...


@runtime_checkable
class SeesClips(MergesTime, Protocol):
    """A trunk that takes whole clips."""

    num_tokens: int | None  # per output time step; None: one per key

    def over_time(self, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (R, T, N, C) and mask (R, T, N) → hidden (R, T / time, Q, H) and its mask."""
        ...


@runtime_checkable
class TakesAdapters(Protocol):
    """A trunk whose linear layers the adapters of its ports may change."""

    has_adapters: bool  # whether `TrunkInput.adapter` must be given

    def sites(self) -> Mapping[Any, Any]:
        """Linear layers that an adapter may change."""
        ...

    def attach(self, adapters: Sequence[Any]) -> None:
        """Take the adapters of all ports of a connector, in the order that `TrunkInput.adapter` counts."""
        ...


@runtime_checkable
class RoutesExperts(Protocol):
    """Trunk of several parallel experts, whose results are weighted by each port's router.

    `TrunkInput.adapter` must be given.
    """

    num_experts: int

    def attach_routers(self, routers: Sequence[Any]) -> None:
        """Take the routers of all ports of a connector, in the order that `TrunkInput.adapter` counts."""
        ...


@runtime_checkable
class KeepsMemory(Protocol):
    """A trunk that processes a clip one time step at a time, with a memory of the steps before.

    The memory is a value: it is passed in and returned, and the one passed in stays valid. A row without a real key
    keeps its memory as it was.
    """

    @property
    def remembers_text(self) -> bool:
        """Whether the memory depends on the text; then another text is answered approximately."""
        ...

    def empty_memory(self, inputs: TrunkInput) -> Any:
        """The memory of rows that have seen nothing; the values of `inputs.keys` are not read."""
        ...

    def commit(self, inputs: TrunkInput, memory: Any, undo_log: Any = None) -> Any:
        """The memory after time steps keys (R, T, K, C). With an undo log, the given memory may be consumed."""
        ...

    def evaluate(self, inputs: TrunkInput, memory: Any) -> Tensor:
        """Hidden states (R, Q + L, H) of keys (R, K, C) as the last time step."""
        ...

    def replay(self, inputs: TrunkInput, memory: Any) -> Any:
        """Rebuild the memory for another text from the contents of `memory`: approximate, since the time steps are gone."""
        ...

    def account(self, memory: Any, row: int, most_tokens: int | None) -> dict[str, Any]:
        """Summarize a row's memory as JSON data for the Trace; `most_tokens` bounds its size, None reports everything."""
        ...


def text_spec_of(part: object) -> TextSpec | None:
    """Return the text spec of a trunk, a selector or a configuration; None if it does not read the question."""
    return part.text_spec if isinstance(part, ReadsText) else None
