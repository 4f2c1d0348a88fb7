"""The Q-Former: query tokens that attend to an encoder's tokens through cross-attention, with or without text in its self-attention.

One implementation for BLIP-2's form (queries only) and InstructBLIP's (queries and text in one self-attention), for
each time step separately or, with a memory of earlier ones (`qformer_memory`).
Parameter names follow transformers', so that key tables stay short (`qformer_keys`).
"""

# Axes: R rows, T time steps, Q queries, L text tokens, K keys, C key width, H hidden width

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidweave.connectors.modality_adapters import Adapter
from vidweave.connectors.qformer_layers import (
    AdaptedLayer,
    QFormerEmbeddings,
    QFormerLayer,
    QFormerSizes,
    QFormerStack,
    sites_of,
)
from vidweave.connectors.qformer_memory import (
    MemoryConfig,
    QFormerMemory,
    account,
    commit,
    empty_memory,
    evaluate,
    replay,
)
from vidweave.connectors.trunk import MemoryTrunk, Trunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import reset_normal
from vidweave.nn.bank import UndoLog
from vidweave.nn.lora import RowAdapters, Site
from vidweave.types import ComponentConfig, TextSpec, TrunkInput

__all__ = ["MemoryQFormer", "QFormer", "QFormerConfig"]


@dataclass(frozen=True, kw_only=True)
class QFormerConfig(QFormerSizes, ComponentConfig):
    """Size of a Q-Former (see `QFormerSizes`), its text and its memory.

    Attributes:
        text_spec: Tokenization of its text; set it only together with `vocab_size`.
        memory: Memory of earlier time steps; None processes each one separately.
    """

    kind: ClassVar[str] = "qformer"
    text_spec: TextSpec | None = None
    memory: MemoryConfig | None = None

    @property
    def has_memory(self) -> bool:
        """Whether it has a memory, so that all segments of a row become one segment of tokens."""
        return self.memory is not None

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ConfigError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        if self.layers < 1 or self.cross_attention_frequency < 1:
            raise ConfigError(
                f"layers ({self.layers}) and cross_attention_frequency ({self.cross_attention_frequency}) start at 1"
            )
        if self.text_spec is not None and not self.vocab_size:
            raise ConfigError("text_spec is set, but vocab_size is 0: a Q-Former without a vocabulary reads no text")
        if self.text_spec is not None and self.text_spec.max_tokens > self.max_positions:
            raise ConfigError(
                f"text_spec.max_tokens ({self.text_spec.max_tokens}) is above max_positions ({self.max_positions})"
            )

    def build(self) -> QFormer:
        return QFormer(self) if self.memory is None else MemoryQFormer(self)


class _Encoder(nn.Module):
    def __init__(self, config: QFormerSizes) -> None:
        super().__init__()
        frequency = config.cross_attention_frequency
        self.layer = nn.ModuleList(QFormerLayer(config, index % frequency == 0) for index in range(config.layers))


class QFormer(Trunk):
    """See the module. Keys and values of an all-masked row give zeros, never NaN."""

    # As transformers loads the Q-Former and query tokens of BLIP-2
    float32_instead_of = (torch.float16,)

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.key_width = config.encoder_width
        self.width = self.query_width = config.hidden
        self.text_spec = config.text_spec
        self.vocab_size = config.vocab_size
        self.max_positions = config.max_positions
        self.has_adapters = False
        self.embeddings = QFormerEmbeddings(config)
        self.encoder = _Encoder(config)
        self._adapters: tuple[Adapter | None, ...] = ()  # owned by their ports
        reset_normal(self)

    def forward(self, inputs: TrunkInput) -> Tensor:
        """Queries (R, Q, H), keys (R, K, C) and text (R, L) → hidden states (R, Q + L, H).

        Raises:
            ShapeError: no queries, keys of another width, or text longer than the position table.
            ConfigError: text without a text branch, or adapters that it does not have.
        """
        queries, stack = self.check(inputs), self.stack(inputs.adapter)
        states = stack.embeddings(queries, inputs.text)
        mask = stack.self_mask(queries, inputs.text, inputs.text_mask)
        for layer in stack.layers:
            states = layer(states, queries.shape[1], mask, inputs.keys, inputs.mask)
        return states

    def sites(self) -> dict[Site, nn.Linear]:
        """The projections of all its attention layers."""
        per_layer = [sites_of(layer, number) for number, layer in enumerate(self.layers)]
        return {site: linear for layer in per_layer for site, linear in layer.items()}

    def attach(self, adapters: Sequence[Adapter | None]) -> None:
        """Make these adapters available to rows by their index; their ports keep owning them."""
        self._adapters = tuple(adapters)
        self.has_adapters = any(adapter is not None for adapter in adapters)

    def stack(self, adapter: Tensor | None = None) -> QFormerStack:
        """Embeddings and layers, with the adapters of rows `adapter` (R,) applied."""
        if adapter is None:
            return QFormerStack(self.embeddings, self.layers)
        if not self.has_adapters:
            self.refuse(adapter=adapter)
        sites = [{} if one is None else one.sites() for one in self._adapters]
        rows = RowAdapters.of(sites, adapter)
        adapted = [AdaptedLayer(layer, rows, number) for number, layer in enumerate(self.layers)]
        return QFormerStack(self.embeddings, adapted)

    @property
    def layers(self) -> list[QFormerLayer]:
        """Layers, first to last."""
        return list(self.encoder.layer)  # type: ignore[arg-type]

    def check(self, inputs: TrunkInput) -> Tensor:
        """Return the query tokens of `inputs` after checking that they fit this Q-Former; raises as `forward` does."""
        queries, keys, text = inputs.queries, inputs.keys, inputs.text
        if queries is None or queries.shape[-1] != self.width:
            got = "none" if queries is None else str(tuple(queries.shape))
            raise ShapeError(f"the Q-Former needs queries (R, Q, {self.width}), got {got}")
        if keys.shape[-1] != self.key_width:
            raise ShapeError(f"the Q-Former reads keys of width {self.key_width}, got {keys.shape[-1]}")
        if text is not None and not self.vocab_size:
            raise ConfigError("this Q-Former has no text branch (vocab_size=0), but text was given")
        if text is not None and text.shape[1] > self.max_positions:
            raise ShapeError(
                f"the text has {text.shape[1]} tokens, the position table {self.max_positions}; cut the text"
            )
        return queries


class MemoryQFormer(QFormer, MemoryTrunk):
    """A Q-Former that attends to a memory of earlier time steps too. Same weights as without a memory."""

    def __init__(self, config: QFormerConfig) -> None:
        if config.memory is None:
            raise ConfigError("a Q-Former with a memory needs memory=MemoryConfig(…)")
        super().__init__(config)
        self.memory: MemoryConfig = config.memory

    def forward(self, inputs: TrunkInput) -> Tensor:
        return MemoryTrunk.forward(self, inputs)

    def step(self, inputs: TrunkInput, memory: Any) -> tuple[Tensor, QFormerMemory]:
        """Return hidden states (R, Q + L, H) of keys (R, K, C) given a memory, and the memory with these keys added."""
        mask = None if inputs.mask is None else inputs.mask[:, None]
        return self.evaluate(inputs, memory), self.commit(inputs.with_keys(inputs.keys[:, None], mask), memory)

    def evaluate(self, inputs: TrunkInput, memory: Any) -> Tensor:
        """Compute the hidden states of `step` without the new memory."""
        self.check(inputs)
        return evaluate(self.stack(inputs.adapter), self.memory, inputs, _expect_memory(memory))

    def empty_memory(self, inputs: TrunkInput) -> QFormerMemory:
        return empty_memory(self.stack(), self.memory, inputs)

    def commit(self, inputs: TrunkInput, memory: Any, undo_log: UndoLog | None = None) -> QFormerMemory:
        """Return the memory after keys (R, T, K, C); layer by layer over many time steps, without a gradient."""
        self.check(inputs)
        return commit(self.stack(inputs.adapter), self.memory, inputs, _expect_memory(memory), undo_log)

    def replay(self, inputs: TrunkInput, memory: Any) -> QFormerMemory:
        """Keep the visual bank, and recompute the query banks from it with another text, entry by entry: approximate."""
        return replay(self.stack(inputs.adapter), self.memory, inputs, _expect_memory(memory))

    @property
    def remembers_text(self) -> bool:
        """Whether the memory depends on the text. A visual bank alone does not: every later question is answered exactly."""
        return self.text_spec is not None and self.memory.banks != "visual"

    def account(self, memory: Any, row: int, most_tokens: int | None) -> dict[str, Any]:
        facts = {"policy": self.memory.policy, "length": self.memory.length}
        return {**facts, "banks": account(_expect_memory(memory), row, most_tokens)}


def _expect_memory(memory: Any) -> QFormerMemory:
    if not isinstance(memory, QFormerMemory):
        raise ConfigError(
            f"this Q-Former needs a QFormerMemory, got {type(memory).__name__}; start with empty_memory()"
        )
    return memory
