"""Options of many items as one batch, and their log-probabilities back as one list per item."""

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
    """Log-probability (…) of token `ids` (…) under `logits` (…, V), in float32."""
    logits = logits.float()
    return logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)


@dataclass(frozen=True, eq=False)
class OptionBatch:
    """Options of all items, right-padded: `ids` (N, M), `mask` (N, M), `item` (N,) whose option it is."""

    ids: Tensor
    mask: Tensor
    item: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, options: Sequence[Sequence[Sequence[int]]], num_items: int, device: torch.device) -> OptionBatch:
        """Token ids per item and option, as `LanguageModel.score` takes them.

        Raises:
            ShapeError: not one option list per item; the message gives both numbers.
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
        """Logits (N, M, V) → one number per option: the `sum` of its tokens' log-probabilities, or their `mean`.

        Raises:
            ConfigError: another `normalize`.
            NonFiniteError: a log-probability of an option is NaN or infinite.
        """
        if normalize not in ("sum", "mean"):
            raise ConfigError(f"normalize must be 'sum' or 'mean', got {normalize!r}")
        logprobs = token_logprobs(logits, self.ids)
        # in the dtype of the logits, which the message names; a number that is too large for it was infinite before
        require_finite("scores of the options from the language model", {"": (logprobs.to(logits.dtype), self.mask)})
        total = torch.where(self.mask, logprobs, 0.0).sum(1)
        if normalize == "mean":
            total = total / self.mask.sum(1)
        return [part.tolist() for part in total.split(self.counts)]
