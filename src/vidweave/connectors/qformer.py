"""The Q-Former: query tokens that look at an encoder's tokens through cross-attention, with or without a text beside.

One implementation for BLIP-2's form (queries only) and InstructBLIP's (queries and text in one self-attention), for
each group alone or, with a memory, beside those that came before (`qformer_memory`).
Parameter names follow transformers', so that key tables stay short (`qformer_keys`).
"""

# Axes: R rows, Q queries, L text tokens, K keys, C key width, H hidden width

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from vidweave.connectors.modality_adapters import Adapter
from vidweave.connectors.qformer_layers import AdaptedLayer, QFormerEmbeddings, QFormerLayer, sites_of
from vidweave.connectors.qformer_memory import MemoryConfig, QFormerMemory, account, commit, empty_memory, look, replay
from vidweave.connectors.trunk import Trunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import reset_normal
from vidweave.nn.bank import Journal
from vidweave.nn.lora import RowAdapters, Site
from vidweave.types import ComponentConfig, TextSpec

__all__ = ["QFormer", "QFormerConfig"]


@dataclass(frozen=True, kw_only=True)
class QFormerConfig(ComponentConfig):
    """Size of a Q-Former; the defaults are the paper's (BLIP-2).

    Attributes:
        hidden: H. heads must divide it.
        layers, heads, intermediate: Of the BERT-like encoder.
        cross_attention_frequency: Layers 0, n, 2n, … look at the encoder.
        encoder_width: C.
        vocab_size: 0 is BLIP-2's form, without a text branch; InstructBLIP has 30,523.
        max_positions: Longest text; counts only with a vocabulary.
        layer_norm_eps: Of every norm.
        hidden_dropout, attention_dropout: In training.
        text_spec: How it reads text; needed if and only if there is a vocabulary and text is to be read.
        memory: What it keeps of earlier groups; None sees each group alone.
    """

    kind: ClassVar[str] = "qformer"
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    cross_attention_frequency: int = 2
    encoder_width: int = 1408
    vocab_size: int = 0
    max_positions: int = 512
    layer_norm_eps: float = 1e-12
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    text_spec: TextSpec | None = None
    memory: MemoryConfig | None = None

    @property
    def has_memory(self) -> bool:
        """All groups of a row then become one group of tokens."""
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
        return QFormer(self)


class _Encoder(nn.Module):
    def __init__(self, config: QFormerConfig) -> None:
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
        self.width = config.hidden
        self.text_spec = config.text_spec
        self.vocab_size = config.vocab_size
        self.max_positions = config.max_positions
        self.memory = config.memory
        self.has_memory = config.has_memory
        self.embeddings = QFormerEmbeddings(config)
        self.encoder = _Encoder(config)
        self._adapters: tuple[Adapter | None, ...] = ()  # owned by their ports
        reset_normal(self)

    def forward(
        self,
        queries: Tensor | None,
        keys: Tensor,
        key_mask: Tensor | None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any = None,
    ) -> tuple[Tensor, Any]:
        """queries (R, Q, H), keys (R, K, C), key_mask (R, K), text ids (R, L) and mask → hidden (R, Q + L, H), memory.

        Raises:
            ShapeError: no queries, keys of another width, or text longer than the position table.
            ConfigError: text without a text branch; adapters that it has not; a memory that this Q-Former does not keep, or none.
        """
        queries = self._check(queries, keys, text)
        adapted = self._adapted(adapter)
        if self.memory is not None:
            memory = self._expect_memory(memory)
            hidden = look(adapted, queries, keys, key_mask, text, text_mask, memory)
            mask = None if key_mask is None else key_mask[:, None]
            return hidden, commit(adapted, queries, keys[:, None], mask, text, text_mask, memory)
        self.refuse(memory=memory)
        states = self.embeddings(queries, text)
        mask = self.self_mask(queries, text, text_mask)
        for layer in adapted.layers:
            states = layer(states, queries.shape[1], mask, keys, key_mask)
        return states, None

    def evaluate(
        self,
        queries: Tensor | None,
        keys: Tensor,
        key_mask: Tensor | None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any = None,
    ) -> Tensor:
        """As `forward`, without the new memory."""
        if self.memory is None:
            return self(queries, keys, key_mask, text, text_mask, adapter=adapter, memory=memory)[0]
        queries = self._check(queries, keys, text)
        return look(self._adapted(adapter), queries, keys, key_mask, text, text_mask, self._expect_memory(memory))

    def empty_memory(self, queries: Tensor, text: Tensor | None, text_mask: Tensor | None) -> Any:
        """A memory of R rows that have seen nothing; ConfigError if this Q-Former keeps none."""
        if self.memory is None:
            return super().empty_memory(queries, text, text_mask)
        return empty_memory(self, queries, text)

    def commit(
        self,
        queries: Tensor,
        keys: Tensor,
        key_mask: Tensor | None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        *,
        adapter: Tensor | None = None,
        memory: Any,
        journal: Journal | None = None,
    ) -> Any:
        """The memory after groups keys (R, T, K, C); layer by layer over many groups, without a gradient. A key mask
        of None: all are real."""
        queries = self._check(queries, keys, text)
        return commit(
            self._adapted(adapter), queries, keys, key_mask, text, text_mask, self._expect_memory(memory), journal
        )

    def replay(
        self,
        queries: Tensor,
        text: Tensor | None,
        text_mask: Tensor | None,
        *,
        adapter: Tensor | None = None,
        memory: Any,
    ) -> Any:
        """The same visual bank, and banks of queries that read it with another text, entry by entry: approximate."""
        return replay(self._adapted(adapter), queries, text, text_mask, self._expect_memory(memory))

    def sites(self) -> dict[Site, nn.Linear]:
        """The projections of all its attention layers."""
        found = [sites_of(layer, number) for number, layer in enumerate(self.encoder.layer)]  # type: ignore[arg-type]
        return {site: linear for layer in found for site, linear in layer.items()}

    def attach(self, adapters: Sequence[Adapter | None]) -> None:
        """Rows may ask for these by their index from now on; the ports that own them keep owning them."""
        self._adapters = tuple(adapters)
        self.has_adapters = any(adapter is not None for adapter in adapters)

    def _adapted(self, adapter: Tensor | None) -> QFormer:
        """Itself, as the adapters of rows `adapter` (R,) change its layers."""
        if adapter is None:
            return self
        if not self.has_adapters:
            self.refuse(adapter=adapter)
        sites = [{} if one is None else one.sites() for one in self._adapters]
        return cast("QFormer", _AdaptedQFormer(self, RowAdapters.of(sites, adapter)))

    @property
    def remembers_text(self) -> bool:
        """A visual bank alone knows nothing of the text: every question is answered exactly, whenever it is asked."""
        return self.reads_text and (self.memory is None or self.memory.banks != "visual")

    def account(self, memory: Any, row: int, most_tokens: int | None) -> dict[str, Any]:
        held, config = self._expect_memory(memory), self.memory
        assert config is not None
        facts = {"policy": config.policy, "length": config.length}
        return {**facts, "banks": account(held, row, most_tokens)}

    @property
    def layers(self) -> list[QFormerLayer]:
        """Its layers, first to last."""
        return list(self.encoder.layer)  # type: ignore[arg-type]

    def _expect_memory(self, memory: Any) -> QFormerMemory:
        if self.memory is None:
            self.refuse(memory=memory)
        if not isinstance(memory, QFormerMemory):
            raise ConfigError(
                f"this Q-Former works on a memory, got {type(memory).__name__}; begin with empty_memory()"
            )
        return memory

    def _check(self, queries: Tensor | None, keys: Tensor, text: Tensor | None) -> Tensor:
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

    @staticmethod
    def self_mask(queries: Tensor, text: Tensor | None, text_mask: Tensor | None) -> Tensor | None:
        """(R, Q + L) True at queries and real text; None: all are real."""
        if text is None or text_mask is None:
            return None
        return torch.cat([text_mask.new_ones(queries.shape[:2]), text_mask], dim=1)


class _AdaptedQFormer:
    """A Q-Former whose layers have the adapters of some rows; all else is the Q-Former's."""

    def __init__(self, qformer: QFormer, rows: RowAdapters) -> None:
        self._qformer = qformer
        self.layers = [AdaptedLayer(layer, rows, number) for number, layer in enumerate(qformer.layers)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._qformer, name)
