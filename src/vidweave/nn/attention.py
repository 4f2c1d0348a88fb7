"""Multi-head attention with PyTorch's fused kernel and boolean key masks."""

# Axes: R rows, Q queries, K keys, W width, A heads, D width of a head

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ConfigError
from vidweave.nn.lora import RowAdapters
from vidweave.nn.rotary import rotate

__all__ = ["AdaptedAttention", "Attention", "MultiHeadAttention", "attend", "mix_heads", "reset_normal"]


def attend(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None, *, dropout: float = 0.0
) -> Tensor:
    """Compute softmax attention that stays finite for rows without real keys: they get zeros and no gradient.

    Args:
        query: (R, A, Q, D).
        key, value: (R, A, K, D).
        key_mask: (R, K), True for real keys, or (R, Q, K) for a mask per query. None: all are real.
        dropout: Dropout probability of attention weights, already 0 outside training.

    Returns:
        (R, A, Q, D).
    """
    if key_mask is None:
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    has_key = key_mask.any(-1, keepdim=True)
    # A softmax over nothing is 0/0 in some kernels. Rows without keys attend to all keys; their result is dropped.
    visible, has_key = (x if x.ndim == 3 else x[:, None] for x in (key_mask | ~has_key, has_key))
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None], dropout_p=dropout)
    return mixed.masked_fill(~has_key[:, None], 0.0)


class MultiHeadAttention(nn.Module):
    """Project to queries, keys and values, attend, and join the heads.

    The output projection, residual and norm differ between architectures and are up to the caller.

    Args:
        width: W of the queries and of the result.
        num_heads: Number of heads; must divide `width`.
        key_width: Width of the states from which keys and values are projected; None means `width` (self-attention).
        dropout: Dropout of attention weights, in training.
        bias: Whether the projections have one.

    Raises:
        ConfigError: `width` is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        key_width: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"the width ({width}) must be a multiple of the number of heads ({num_heads})")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(key_width or width, width, bias=bias)
        self.value = nn.Linear(key_width or width, width, bias=bias)

    def split(self, states: Tensor) -> Tensor:
        """(R, S, W) → (R, A, S, D)."""
        rows, length, width = states.shape
        return states.view(rows, length, self.num_heads, width // self.num_heads).transpose(1, 2)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor | None = None,
        key_mask: Tensor | None = None,
        *,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """queries (R, Q, W), keys (R, K, key_width) or None for self-attention, key_mask (R, K) or (R, Q, K) → (R, Q, W).

        Args:
            rotary: Tables (Q, D) and (K, D) by which queries and keys are rotated, see `nn.rotary`.
        """
        return project_and_mix(self, queries, queries if keys is None else keys, key_mask, rotary)


class AdaptedAttention:
    """View of a `MultiHeadAttention` with row-wise adapters on its projections; holds no weights.

    Args:
        prefix: Prefix of the names of its projections among the sites of `layer`.
    """

    def __init__(self, attention: MultiHeadAttention, rows: RowAdapters, layer: int, prefix: str = "") -> None:
        self.attention, self.rows = attention, rows
        self._layer, self._prefix = layer, prefix

    @property
    def dropout(self) -> float:
        return self.attention.dropout

    @property
    def training(self) -> bool:
        return self.attention.training

    def split(self, states: Tensor) -> Tensor:
        """Same as for the attention."""
        return self.attention.split(states)

    def query(self, states: Tensor) -> Tensor:
        return self._project("query", states, self.attention.query)

    def key(self, states: Tensor) -> Tensor:
        return self._project("key", states, self.attention.key)

    def value(self, states: Tensor) -> Tensor:
        return self._project("value", states, self.attention.value)

    def __call__(self, queries: Tensor, keys: Tensor | None = None, key_mask: Tensor | None = None) -> Tensor:
        """Same as the attention's `forward`."""
        return project_and_mix(self, queries, queries if keys is None else keys, key_mask)

    def _project(self, name: str, states: Tensor, linear: nn.Linear) -> Tensor:
        return self.rows.add((self._layer, self._prefix + name), states, linear)


Attention = MultiHeadAttention | AdaptedAttention


Rotary = tuple[Tensor, Tensor]


def project_and_mix(
    attention: Attention, queries: Tensor, keys: Tensor, key_mask: Tensor | None, rotary: Rotary | None = None
) -> Tensor:
    """States (R, Q, W) attending to states (R, K, key_width) → (R, Q, W)."""
    return mix_heads(attention, attention.query(queries), attention.key(keys), attention.value(keys), key_mask, rotary)


def mix_heads(
    attention: Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    rotary: Rotary | None = None,
) -> Tensor:
    """Projected queries (R, Q, W) attending to projected keys (R, K, W) → (R, Q, W)."""
    heads, keys = attention.split(query), attention.split(key)
    if rotary is not None:
        heads, keys = rotate(heads, rotary[0]), rotate(keys, rotary[1])
    dropout = attention.dropout if attention.training else 0.0
    mixed = attend(heads, keys, attention.split(value), key_mask, dropout=dropout)
    return mixed.transpose(1, 2).reshape(query.shape)


def _reset_normal(module: nn.Module, std: float) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def reset_normal(root: nn.Module, std: float = 0.02) -> None:
    """Initialize as BERT does: linear and embedding weights from N(0, std²), biases 0; norms keep ones and zeros."""
    root.apply(lambda module: _reset_normal(module, std))
