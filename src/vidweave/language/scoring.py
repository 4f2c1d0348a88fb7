"""Batch the options of many items, and split their log-probabilities into one list per item."""

# Axes: B items, N options of all items, M tokens of the longest option, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidweave.errors import ConfigError, QueryError, ShapeError
from vidweave.nn.numbers import require_finite

__all__ = ["OptionBatch", "token_logprobs"]


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """Compute the log-probability (…) of token `ids` (…) under `logits` (…, V), in float32."""
    logits = logits.float()
    return logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)


@dataclass(frozen=True, eq=False)
class OptionBatch:
    """Options of all items, padded on the right: `ids` (N, M), `mask` (N, M), and the `item` (N,) of each option."""

    ids: Tensor
    mask: Tensor
    item: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, options: Sequence[Sequence[Sequence[int]]], num_items: int, device: torch.device) -> OptionBatch:
        """Batch token ids per item and option, in the form of `LanguageModel.score`.

        Raises:
            ShapeError: the number of option lists differs from the number of items; the message gives both.
            QueryError: an option without a token.
        """
        if len(options) != num_items:
            raise ShapeError(f"options are given for {len(options)} items, the prompt has {num_items}")
        flat = [list(option) for item in options for option in item]
        if any(not option for option in flat):
            raise QueryError("an option has no token; give every option a text")
        longest = max(map(len, flat), default=1)
        ids = torch.tensor([o + [0] * (longest - len(o)) for o in flat], dtype=torch.int64).reshape(len(flat), longest)
        mask = torch.tensor([[k < len(o) for k in range(longest)] for o in flat], dtype=torch.bool).reshape(
            len(flat), longest
        )
        counts = tuple(len(item) for item in options)
        item = torch.arange(num_items).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
        return cls(ids.to(device), mask.to(device), item.to(device), counts)

    def scores(self, logits: Tensor, normalize: str) -> list[list[float]]:
        """Logits (N, M, V) → one score per option: the `sum` or `mean` of its tokens' log-probabilities.

        Raises:
            ConfigError: another `normalize`.
            NonFiniteError: a log-probability of an option is NaN or infinite.
        """
        if normalize not in ("sum", "mean"):
            raise ConfigError(f"normalize must be 'sum' or 'mean', got {normalize!r}")
        logprobs = token_logprobs(logits, self.ids)
        # in the dtype of the logits, which the message names; numbers too large for it were already infinite
        require_finite("scores of the options from the language model", {"": (logprobs.to(logits.dtype), self.mask)})
        total = torch.where(self.mask, logprobs, 0.0).sum(1)
        if normalize == "mean":
            total = total / self.mask.sum(1)
        return [part.tolist() for part in total.split(self.counts)]
