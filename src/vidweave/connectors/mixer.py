"""Mixers: combine the tokens of several encoders in one set, as a weighted sum or through one linear layer.

A mixer gives every stream one weight per clip, between 0 and 1 and 1 in sum, and takes the weighted sum of their
tokens: the prompt has the length of one stream, and the weights show how much each contributed. `weighting` selects:

- `attention`: one learned query attends to each stream's mean token (arXiv 2501.01426, section 3.3 and its released code,
  which projects query and keys). Since the query is the same for every clip, the logits are linear in the means.
- `folded`: the same at inference: one vector, which `fold` computes.
- `query_mlp`: a small network instead of the linear map.
- `scalar`: one learned number per stream, independent of the clip. `equal`: no parameters.
"""

# Axes: R rows, E streams, T segments, Q tokens, D width, q query width

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.fusion import Join, JoinConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.types import Blocks, PanelSource

__all__ = ["ChannelConcat", "ChannelConcatConfig", "Mixer", "MixerConfig", "fold"]

MOST_SEGMENTS = 16
Weighting = Literal["attention", "folded", "query_mlp", "scalar", "equal"]


@dataclass(frozen=True, kw_only=True)
class MixerConfig(JoinConfig):
    """See the module; `JoinConfig` has the rest.

    Attributes:
        weighting: Where the weights come from.
        query_width: q, the width of attention's query and keys, or of the network in `query_mlp`.
        flat_tokens: Number of tokens of a clip; keys are all of them side by side. 0: keys are their mean.
        stream_embedding: A learned vector per stream is added to its key.
    """

    kind: ClassVar[str] = "mixer"
    align: Literal["exact", "in_order", "nearest", "mean_repeat"] = "in_order"
    weighting: Weighting = "attention"
    query_width: int = 3072
    flat_tokens: int = 0
    stream_embedding: bool = False

    def __post_init__(self) -> None:
        if self.query_width < 1 or self.flat_tokens < 0:
            raise ConfigError(f"query_width must be at least 1 and flat_tokens at least 0, got {self}")
        if self.weighting in ("scalar", "equal") and (self.flat_tokens or self.stream_embedding):
            raise ConfigError(f"weighting={self.weighting!r} sees no keys: leave out flat_tokens and stream_embedding")

    def build(self, streams: Sequence[str] = (), width: int = 0) -> Mixer:
        return Mixer(self, streams, width)


class Mixer(Join):
    """See MixerConfig. A stream that a clip does not have gets weight 0 there."""

    shares_places = True

    def __init__(self, config: MixerConfig, streams: Sequence[str], width: int) -> None:
        super().__init__(config, streams)
        self.config = config
        key_width = width * (config.flat_tokens or 1)
        self.stream_embedding: nn.Parameter | None = None
        if config.stream_embedding:
            self.stream_embedding = nn.Parameter(torch.zeros(len(self.members), key_width))
        self.weighting = _weighting(config, len(self.members), key_width)

    def join(self, members: list[Blocks]) -> tuple[Blocks, dict[str, Any]]:
        values, mask = _side_by_side(members)
        weights = self.weigh(values, mask)
        mixed = torch.einsum("re,retqd->rtqd", weights, values)
        fused = replace(members[0], values=mixed, mask=mask.any(1))
        info = partial(_tell, self.members, weights.detach(), values.detach(), fused)
        return fused, {"encoder_weights": PanelSource(info)}

    def weigh(self, values: Tensor, mask: Tensor) -> Tensor:
        """Tokens (R, E, T, Q, D), zero where `mask` (R, E, T, Q) is False → weights (R, E)."""
        keys = self._flat_keys(values) if self.config.flat_tokens else _means(values, mask)
        if self.stream_embedding is not None:
            keys = keys + self.stream_embedding
        there = mask.flatten(2).any(2)
        logits = self.weighting(keys).masked_fill(~there & there.any(1, keepdim=True), -torch.inf)
        return logits.softmax(1)

    def _flat_keys(self, values: Tensor) -> Tensor:
        rows, streams, segments, tokens, _ = values.shape
        if segments * tokens != self.config.flat_tokens:
            raise ShapeError(
                f"the mixer compares clips of {self.config.flat_tokens} tokens (flat_tokens), got {segments} x {tokens}"
            )
        return values.reshape(rows, streams, -1)


class _Attention(nn.Module):
    """Keys (R, E, K) → logits (R, E) = q·k / sqrt(q), q = W_q Q + b_q. A bias of the keys would cancel in the softmax."""

    def __init__(self, key_width: int, query_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, query_width))
        self.query_proj = nn.Linear(query_width, query_width)
        self.key_proj = nn.Linear(key_width, query_width, bias=False)
        for weight in (self.query, self.query_proj.weight, self.key_proj.weight):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.query_proj.bias)

    def direction(self) -> Tensor:
        """(K,) the single vector that keys are multiplied with, query and key projection folded."""
        return self.query_proj(self.query)[0] @ self.key_proj.weight / math.sqrt(self.query.shape[1])

    def forward(self, keys: Tensor) -> Tensor:
        return keys @ self.direction()


class _Folded(nn.Module):
    def __init__(self, key_width: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(key_width))

    def forward(self, keys: Tensor) -> Tensor:
        return keys @ self.direction


class _QueryMLP(nn.Module):
    def __init__(self, key_width: int, query_width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(key_width, query_width)
        self.output = nn.Linear(query_width, 1, bias=False)

    def forward(self, keys: Tensor) -> Tensor:
        return self.output(functional.gelu(self.hidden(keys)))[..., 0]


class _Scalar(nn.Module):
    def __init__(self, streams: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(streams))

    def forward(self, keys: Tensor) -> Tensor:
        return self.logits.expand(keys.shape[:2])


class _Equal(nn.Module):
    def forward(self, keys: Tensor) -> Tensor:
        return keys.new_zeros(keys.shape[:2])


def _weighting(config: MixerConfig, streams: int, key_width: int) -> nn.Module:
    made = {
        "attention": lambda: _Attention(key_width, config.query_width),
        "folded": lambda: _Folded(key_width),
        "query_mlp": lambda: _QueryMLP(key_width, config.query_width),
        "scalar": lambda: _Scalar(streams),
        "equal": _Equal,
    }
    return made[config.weighting]()


@torch.no_grad()
def fold(mixer: Mixer) -> Mixer:
    """Return an equal mixer whose weights come from one vector; raises ConfigError unless its weighting is `attention`."""
    if not isinstance(mixer.weighting, _Attention):
        raise ConfigError(f"only weighting='attention' can be folded, this mixer has {mixer.config.weighting!r}")
    direction = mixer.weighting.direction()
    key_width = mixer.weighting.key_proj.in_features // (mixer.config.flat_tokens or 1)
    folded = Mixer(replace(mixer.config, weighting="folded"), (*mixer.members, *mixer.block_names[1:]), key_width)
    folded.members = mixer.members
    state = {"weighting.direction": direction}
    if mixer.stream_embedding is not None:
        state["stream_embedding"] = mixer.stream_embedding
    folded.load_state_dict(state)
    return folded.to(direction)


@dataclass(frozen=True, kw_only=True)
class ChannelConcatConfig(JoinConfig):
    """Concatenate streams' tokens along the width, then map back with one linear layer; a missing stream is zeros.

    Attributes:
        norm: LayerNorm over the joined width before the layer.
    """

    kind: ClassVar[str] = "channel_concat"
    align: Literal["exact", "in_order", "nearest", "mean_repeat"] = "in_order"
    norm: bool = False

    def build(self, streams: Sequence[str] = (), width: int = 0) -> ChannelConcat:
        return ChannelConcat(self, streams, width)


class ChannelConcat(Join):
    """See ChannelConcatConfig."""

    shares_places = True

    def __init__(self, config: ChannelConcatConfig, streams: Sequence[str], width: int) -> None:
        super().__init__(config, streams)
        joined = width * len(self.members)
        self.norm = nn.LayerNorm(joined) if config.norm else nn.Identity()
        self.proj = nn.Linear(joined, width)

    def join(self, members: list[Blocks]) -> tuple[Blocks, dict[str, Any]]:
        values, mask = _side_by_side(members)
        joined = values.permute(0, 2, 3, 1, 4).flatten(3)
        return replace(members[0], values=self.proj(self.norm(joined)), mask=mask.any(1)), {}


def _side_by_side(members: list[Blocks]) -> tuple[Tensor, Tensor]:
    """Values (R, E, T, Q, D), zero where masked, and mask (R, E, T, Q). A stream of one token per segment repeats it.

    Raises:
        ShapeError: unequal numbers of tokens per segment.
    """
    most = max(block.mask.shape[2] for block in members)
    odd = [block.mask.shape[2] for block in members if block.mask.shape[2] not in (1, most)]
    if odd:
        counts = [block.mask.shape[2] for block in members]
        raise ShapeError(
            f"streams that are mixed need equal numbers of tokens per segment, got {counts}; give them one token budget "
            "(pool.grid of the streams, or num_tokens of their projectors)"
        )
    values = torch.stack([block.values.expand(-1, -1, most, -1) for block in members], 1)
    mask = torch.stack([block.mask.expand(-1, -1, most) for block in members], 1)
    return values.masked_fill(~mask[..., None], 0.0), mask


def _means(values: Tensor, mask: Tensor) -> Tensor:
    """(R, E, D) mean over each stream's real tokens."""
    return values.sum((2, 3)) / mask.sum((2, 3)).clamp(min=1)[..., None]


def _tell(
    members: Sequence[str], weights: Tensor, values: Tensor, fused: Blocks, item: int, full: bool
) -> list[dict[str, Any]]:
    """Per scene of an item, for the Trace: each stream's weight, and the root mean square of its tokens times the weight.

    At most MOST_SEGMENTS segments, evenly, unless `full`.
    """
    result = []
    for row in (fused.item == item).nonzero().flatten().tolist():
        segments = fused.mask[row].any(-1).nonzero().flatten()
        if not full and len(segments) > MOST_SEGMENTS:
            segments = segments[torch.arange(MOST_SEGMENTS) * len(segments) // MOST_SEGMENTS]
        weight = weights[row].float()
        loud = values[row][:, segments].float().square().mean(-1).sqrt() * weight[:, None, None]
        maps = dict(zip(members, [[[round(v, 4) for v in g] for g in m] for m in loud.tolist()], strict=True))
        shares = dict(zip(members, weight.tolist(), strict=True))
        scene = {"scene": int(fused.scene[row]), "weights": shares, "seconds": fused.seconds[row][segments].tolist()}
        result.append({**scene, "maps": maps})
    return result
