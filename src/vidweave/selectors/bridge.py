"""Network of the temporal grounding bridge: attention between motion steps and over the question (arXiv 2402.16050).

A BERT-like encoder with rotary positions. Its queries are the motion steps of a clip between a begin and an end token;
from `fusion_layer` on they also attend to the words of the question.
"""

# Axes: R rows, L motion steps, S = L + 2 tokens with begin and end, N patches, C motion width, W words, H hidden width

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.attention import MultiHeadAttention, reset_normal
from vidweave.nn.flow_patches import pool_patches
from vidweave.nn.rotary import sinusoid_table

__all__ = ["Bridge", "CrossPosition", "Mode", "MotionEmbedding", "check_sizes"]

Mode = Literal["fusion", "multi_modal", "text"]
CrossPosition = Literal["words", "both"]


SEGMENT = 1024  # tokens of a long clip that are processed at a time with a window


class MotionEmbedding(nn.Module):
    """Embed motion vectors as tokens between a begin and an end token.

    Args:
        motion_width: C.
        num_patches: N vectors per step, pooled with trained weights; 1 for vectors that are already pooled.
        num_positions: Rows of a trained table of absolute positions; 0 for none.
    """

    def __init__(self, motion_width: int, hidden: int, num_patches: int, num_positions: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(motion_width, hidden)
        if num_patches > 1:
            self.spatial = nn.Parameter(torch.full((num_patches,), 1.0 / num_patches))
            self.spatial_bias = nn.Parameter(torch.zeros(1))
        self.begin = nn.Parameter(torch.zeros(hidden))
        self.end = nn.Parameter(torch.zeros(hidden))
        self.positions = nn.Parameter(torch.zeros(num_positions, hidden)) if num_positions else None
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.num_patches = num_patches

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """motion (R, L, N, C) with real steps (R, L) first → (R, S, H); values outside the mask are never used.

        Raises:
            ShapeError: another number of patches, or more steps than the table has positions.
        """
        self._check(motion)
        steps = self.embed(motion.masked_fill(~mask[..., None, None], 0.0))
        rows, _, hidden = steps.shape
        begin = self.begin.expand(rows, 1, hidden)
        tokens = torch.cat([begin, steps, steps.new_zeros(rows, 1, hidden)], 1)
        is_end = torch.arange(tokens.shape[1], device=mask.device) == mask.sum(1, keepdim=True) + 1
        tokens = torch.where(is_end[..., None], self.end, tokens)
        if self.positions is not None:
            tokens = tokens + self.positions[: tokens.shape[1]]
        return self.dropout(self.norm(tokens))

    def embed(self, motion: Tensor) -> Tensor:
        """(R, L, N, C) → (R, L, H): summing over patches first is equivalent and cheaper."""
        if self.num_patches == 1:
            return self.projection(motion[:, :, 0])
        bias = self.projection.bias * self.spatial.sum() + self.spatial_bias
        return functional.linear(pool_patches(motion, self.spatial), self.projection.weight, bias)

    def pooled(self) -> MotionEmbedding:
        """Return the same embedding for vectors that were pooled with this one's `spatial` weights."""
        width, hidden = self.projection.in_features, self.projection.out_features
        positions = 0 if self.positions is None else len(self.positions)
        other = MotionEmbedding(width, hidden, 1, positions, self.dropout.p).to(self.projection.weight)
        state = {key: value for key, value in self.state_dict().items() if not key.startswith("spatial")}
        if self.num_patches > 1:
            state["projection.bias"] = self.projection.bias.detach() * self.spatial.detach().sum() + self.spatial_bias
        other.load_state_dict(state)
        return other.train(self.training)

    def _check(self, motion: Tensor) -> None:
        width = self.projection.in_features
        if motion.ndim != 4 or motion.shape[2:] != (self.num_patches, width):
            raise ShapeError(
                f"the bridge expects motion (R, L, {self.num_patches}, {width}), got {tuple(motion.shape)}; the motion "
                "encoder's patches and width must match the selector"
            )
        if self.positions is not None and motion.shape[1] + 2 > len(self.positions):
            raise ShapeError(_too_long("clip", motion.shape[1], "motion steps", len(self.positions) - 2))


class _PostNorm(nn.Module):
    """Projection, dropout, residual, norm."""

    def __init__(self, width: int, hidden: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        return self.norm(self.dropout(self.dense(states)) + residual)


class _Attention(nn.Module):
    def __init__(self, hidden: int, heads: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(hidden, heads, dropout=dropout)
        self.output = _PostNorm(hidden, hidden, eps, dropout)

    def forward(self, states: Tensor, keys: Tensor | None, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        return self.output(self.attention(states, keys, mask, rotary=rotary), states)


class _Layer(nn.Module):
    """Self-attention, optional cross-attention to the words, feed-forward; post-norm, as in BERT."""

    def __init__(
        self, hidden: int, heads: int, intermediate: int, eps: float, dropout: float, *, has_cross: bool
    ) -> None:
        super().__init__()
        self.attention = _Attention(hidden, heads, eps, dropout)
        self.cross = _Attention(hidden, heads, eps, dropout) if has_cross else None
        self.intermediate = nn.Linear(hidden, intermediate)
        self.output = _PostNorm(intermediate, hidden, eps, dropout)

    def forward(
        self, states: Tensor, mask: Tensor, table: Tensor, words: tuple[Tensor, Tensor, tuple[Tensor, Tensor]] | None
    ) -> Tensor:
        """states (R, S, H), mask of keys, rotary table (S, D), words: states, mask and tables → (R, S, H)."""
        states = self.attention(states, None, mask, (table, table))
        if self.cross is not None and words is not None:
            states = self.cross(states, *words)
        return self.output(functional.gelu(self.intermediate(states)), states)


class _Words(nn.Module):
    """Normalized word embeddings; BERT's segment embedding is a single row."""

    def __init__(self, vocab_size: int, hidden: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden)
        self.token_type_embeddings = nn.Embedding(2, hidden)
        self.norm = nn.LayerNorm(hidden, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        return self.dropout(self.norm(self.word_embeddings(ids) + self.token_type_embeddings.weight[0]))


class Bridge(nn.Module):
    """Predict start and end logits at each motion step from motion and question.

    Args:
        hidden, layers, heads, intermediate, vocab_size, eps, dropout: Sizes of the encoder.
        fusion_layer: First layer that attends to the words.
        mode: Layers that run: `fusion` from `fusion_layer` on, `text` those before it, `multi_modal` all.
        motion_width, num_patches: Shape of the motion vectors, see `MotionEmbedding`.
        num_positions: Rows of the tables, for stored rotary tables and absolute positions.
        stored_tables: Rotary tables are weights, as in released files; otherwise they are computed, for any length.
        absolute: Add trained absolute positions of the motion steps to the rotary ones.
        cross_position: Which side is rotated when steps attend to words: `both`, as released, which makes the result depend
            on the number of preceding steps; or the `words` alone, which does not, at any length.
        encode_words: The words pass through the layers before `fusion_layer` first.
        window: Number of steps to either side that a step attends to; None is all.
    """

    def __init__(
        self,
        *,
        hidden: int,
        layers: int,
        fusion_layer: int,
        heads: int,
        intermediate: int,
        vocab_size: int,
        num_positions: int,
        eps: float,
        dropout: float,
        motion_width: int,
        num_patches: int,
        mode: Mode,
        stored_tables: bool,
        absolute: bool,
        cross_position: CrossPosition,
        encode_words: bool,
        window: int | None,
    ) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.fusion_layer = fusion_layer
        self.cross_position: CrossPosition = cross_position
        self.encode_words = encode_words
        self.window = window
        self.head_width = hidden // heads
        self.words = _Words(vocab_size, hidden, eps, dropout)
        self.motion = MotionEmbedding(motion_width, hidden, num_patches, num_positions if absolute else 0, dropout)
        self.layers = nn.ModuleList(
            _Layer(hidden, heads, intermediate, eps, dropout, has_cross=index >= fusion_layer)
            for index in range(layers)
        )
        self.span_head = nn.Linear(hidden, 2)
        reset_normal(self)
        for parameter in (self.motion.begin, self.motion.end, self.motion.positions):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)
        self.step_table = self.word_table = None
        if stored_tables:
            table = sinusoid_table(num_positions, self.head_width).to(torch.get_default_dtype())
            self.step_table = nn.Parameter(table, requires_grad=False)
            self.word_table = nn.Parameter(table.clone(), requires_grad=False)

    def forward(self, motion: Tensor, mask: Tensor, ids: Tensor, ids_mask: Tensor) -> Tensor:
        """motion (R, L, N, C), its real steps (R, L), word ids (R, W) and mask → logits (R, L, 2).

        With a window, long clips are processed in segments that overlap by the receptive field of a step: the same result,
        with memory linear in the clip's length instead of quadratic.
        """
        if self.window is None or motion.shape[1] + 2 <= SEGMENT:
            states = self.states(motion, mask, ids, ids_mask)[-1]
        else:
            states = self._in_segments(motion, mask, ids, ids_mask, self.window)
        return self.span_head(states[:, 1:-1])

    def states(self, motion: Tensor, mask: Tensor, ids: Tensor, ids_mask: Tensor) -> list[Tensor]:
        """Return (R, S, H) before each layer that runs, and after the last."""
        states, table, words = self._embedded(motion, mask, ids, ids_mask)
        visible = self._visible(mask, 0, states.shape[1])
        outputs = [states]
        for layer in self._running():
            states = layer(states, visible, table, self._seen(words, table))
            outputs.append(states)
        return outputs

    def _in_segments(self, motion: Tensor, mask: Tensor, ids: Tensor, ids_mask: Tensor, window: int) -> Tensor:
        """Return (R, S, H) after the last layer."""
        states, table, words = self._embedded(motion, mask, ids, ids_mask)
        length, reach, parts = states.shape[1], window * len(self._running()), []
        for first in range(0, length, SEGMENT):
            low, high = max(0, first - reach), min(length, first + SEGMENT + reach)
            part, visible = states[:, low:high], self._visible(mask, low, high)
            for layer in self._running():
                part = layer(part, visible, table[low:high], self._seen(words, table[low:high]))
            parts.append(part[:, first - low : first - low + SEGMENT])
        return torch.cat(parts, 1)

    def _embedded(
        self, motion: Tensor, mask: Tensor, ids: Tensor, ids_mask: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return motion tokens (R, S, H), their rotary table, and the words: states, mask and table."""
        ids_mask = ids_mask.bool()
        words, word_table = self.words(ids), self._table(self.word_table, ids.shape[1], "question", "tokens")
        if self.encode_words:
            for layer in self.layers[: self.fusion_layer]:
                words = layer(words, ids_mask, word_table, None)
        states = self.motion(motion, mask)
        table = self._table(self.step_table, states.shape[1], "clip", "motion steps with begin and end")
        return states, table, (words, ids_mask, word_table)

    def _seen(self, words: tuple[Tensor, Tensor, Tensor], table: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Return the words as input of a layer: states, mask, and the tables of steps and words."""
        states, mask, word_table = words
        unturned = sinusoid_table(1, self.head_width, device=table.device)  # position 0
        return states, mask, (table if self.cross_position == "both" else unturned, word_table)

    def _running(self) -> nn.ModuleList:
        first, last = {
            "fusion": (self.fusion_layer, None),
            "text": (0, self.fusion_layer),
            "multi_modal": (0, None),
        }[self.mode]
        return self.layers[first:last]  # type: ignore[return-value]

    def _visible(self, mask: Tensor, low: int, high: int) -> Tensor:
        """Return keys for tokens `low` to `high`: (R, S), or (R, S, S) with a window; real steps, begin and end."""
        place = torch.arange(low, high, device=mask.device)
        real = place < mask.sum(1, keepdim=True) + 2
        if self.window is None:
            return real
        near = (place[:, None] - place).abs() <= self.window
        return real[:, None] & near

    def _table(self, stored: Tensor | None, length: int, what: str, unit: str) -> Tensor:
        if stored is None:
            return sinusoid_table(length, self.head_width, device=self.span_head.weight.device)
        if length > len(stored):
            raise ShapeError(_too_long(what, length, unit, len(stored)))
        return stored[:length]


def check_sizes(hidden: int, heads: int, layers: int, fusion_layer: int) -> None:
    """Raise ConfigError if sizes of a bridge do not match."""
    if hidden % heads or (hidden // heads) % 2:
        raise ConfigError(f"hidden ({hidden}) over heads ({heads}) must be an even number, for rotary pairs")
    if not 0 <= fusion_layer < layers:
        raise ConfigError(f"fusion_layer ({fusion_layer}) must be one of the {layers} layers, counted from 0")


def _too_long(what: str, length: int, unit: str, most: int) -> str:
    return (
        f"the {what} has {length} {unit}, but the bridge's table has {most}; use fewer, or a bridge with rope='sinusoid' and "
        "position='rope', which has no table"
    )
