"""The layers of a Q-Former, and the same layers with per-row adapters applied."""

# Axes: R rows, Q queries, L text tokens, K keys, C key width, H hidden width

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.nn.attention import AdaptedAttention, MultiHeadAttention
from vidweave.nn.lora import RowAdapters, Site

__all__ = ["AdaptedLayer", "QFormerEmbeddings", "QFormerLayer", "QFormerSizes", "QFormerStack", "sites_of"]


@dataclass(frozen=True, kw_only=True)
class QFormerSizes:
    """Size of a Q-Former; the defaults are the paper's (BLIP-2).

    Attributes:
        hidden: H. Must be a multiple of `heads`.
        layers, heads, intermediate: Of the BERT-like encoder.
        cross_attention_frequency: Layers 0, n, 2n, … attend to the encoder's tokens.
        encoder_width: C.
        vocab_size: 0 is BLIP-2's form, without a text branch; InstructBLIP has 30,523.
        max_positions: Longest text; counts only with a vocabulary.
        layer_norm_eps: Of every norm.
        hidden_dropout, attention_dropout: In training.
    """

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


class _Output(nn.Module):
    """Projection, dropout, residual, norm (post-norm, as in BERT)."""

    def __init__(self, width_in: int, config: QFormerSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(states)) + residual)


class _AttentionBlock:
    """Attention, then projection, residual and norm."""

    attention: Any  # Attention
    output: _Output

    def forward(self, states: Tensor, keys: Tensor | None, key_mask: Tensor | None) -> Tensor:
        return self.output(self.attention(states, keys, key_mask), states)


class _Attention(_AttentionBlock, nn.Module):
    """Self-attention, or cross-attention to keys of the encoder's width."""

    def __init__(self, config: QFormerSizes, key_width: int | None = None) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(
            config.hidden, config.heads, key_width=key_width, dropout=config.attention_dropout
        )
        self.output = _Output(config.hidden, config)


class _AdaptedAttention(_AttentionBlock):
    def __init__(self, base: _Attention, rows: RowAdapters, layer: int, prefix: str) -> None:
        self.attention = AdaptedAttention(base.attention, rows, layer, prefix)
        self.output = base.output

    __call__ = _AttentionBlock.forward


class _Intermediate(nn.Module):
    def __init__(self, config: QFormerSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.intermediate)

    def forward(self, states: Tensor) -> Tensor:
        return functional.gelu(self.dense(states))


class _Steps:
    """The steps of a layer: self-attention over queries and text; cross-attention and a feed-forward of their own for
    the queries."""

    attention: Any  # _Attention or _AdaptedAttention, as the next
    crossattention: Any
    feed: Callable[[Tensor, Tensor], Tensor]

    def forward(
        self, states: Tensor, num_queries: int, mask: Tensor | None, keys: Tensor, key_mask: Tensor | None
    ) -> Tensor:
        """states (R, Q + L, H), mask (R, Q + L) → the same shape."""
        states = self.attention(states, None, mask)
        queries, text = states[:, :num_queries], states[:, num_queries:]
        if self.crossattention is not None:
            queries = self.crossattention(queries, keys, key_mask)
        return self.feed(queries, text)


class QFormerLayer(_Steps, nn.Module):
    """See _Steps; names of its parameters follow transformers'."""

    def __init__(self, config: QFormerSizes, has_cross_attention: bool) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.crossattention = _Attention(config, config.encoder_width) if has_cross_attention else None
        if config.vocab_size:
            self.intermediate = _Intermediate(config)
            self.output = _Output(config.intermediate, config)
        self.intermediate_query = _Intermediate(config)
        self.output_query = _Output(config.intermediate, config)

    def feed(self, queries: Tensor, text: Tensor) -> Tensor:
        """Apply the feed-forwards: queries (…, Q, H) and text (…, L, H), which broadcasts, → (…, Q + L, H)."""
        queries = self.output_query(self.intermediate_query(queries), queries)
        if not text.shape[-2]:
            return queries
        text = self.output(self.intermediate(text), text)
        return torch.cat([queries, text.expand(*queries.shape[:-2], -1, -1)], dim=-2)


class AdaptedLayer(_Steps):
    """A layer with per-row adapters applied; it holds no weights."""

    def __init__(self, layer: QFormerLayer, rows: RowAdapters, number: int) -> None:
        cross = layer.crossattention
        self.attention = _AdaptedAttention(layer.attention, rows, number, "")
        self.crossattention = None if cross is None else _AdaptedAttention(cross, rows, number, "cross_")
        self.feed = layer.feed

    __call__ = _Steps.forward


def sites_of(layer: QFormerLayer, number: int) -> dict[Site, nn.Linear]:
    """The linear layers of layer `number` that an adapter may change."""
    result: dict[Site, nn.Linear] = {}
    for prefix, part in {"": layer.attention, "cross_": layer.crossattention}.items():
        if part is not None:
            attention = part.attention
            linears = {"query": attention.query, "key": attention.key, "value": attention.value}
            result |= {(number, prefix + name): linear for name, linear in linears.items()}
    return result


class QFormerEmbeddings(nn.Module):
    """Queries, and word plus position embeddings of the text, under one norm; queries have no positions."""

    def __init__(self, config: QFormerSizes) -> None:
        super().__init__()
        if config.vocab_size:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden)
            self.position_embeddings = nn.Embedding(config.max_positions, config.hidden)
        self.layernorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, queries: Tensor, text: Tensor | None) -> Tensor:
        states = queries
        if text is not None:
            words = self.word_embeddings(text) + self.position_embeddings.weight[: text.shape[1]]
            states = torch.cat([queries.to(words.dtype), words], dim=1)
        return self.dropout(self.layernorm(states))


@dataclass(frozen=True, eq=False)
class QFormerStack:
    """Embeddings and layers of a Q-Former, the layers with per-row adapters applied."""

    embeddings: QFormerEmbeddings
    layers: Sequence[QFormerLayer | AdaptedLayer]

    @property
    def has_dropout(self) -> bool:
        """Whether equal inputs of the first layer can give different outputs."""
        attention = self.layers[0].attention.attention
        return self.embeddings.training and (self.embeddings.dropout.p > 0 or attention.dropout > 0)

    @staticmethod
    def self_mask(queries: Tensor, text: Tensor | None, text_mask: Tensor | None) -> Tensor | None:
        """(R, Q + L) True at queries and real text; None: all are real."""
        if text is None or text_mask is None:
            return None
        return torch.cat([text_mask.new_ones(queries.shape[:2]), text_mask], dim=1)
