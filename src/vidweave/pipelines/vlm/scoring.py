"""Run the model: read a prompt once, score options after it, or generate."""

# Axes: L tokens of the prompt, M tokens of an option, V vocabulary, n rows of position ids

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from vidweave.errors import ConfigError
from vidweave.language.decoding import Cancel, Decoding, stopping
from vidweave.language.scoring import token_logprobs
from vidweave.nn.numbers import require_finite

__all__ = ["Reading", "generate", "read_prompt", "score_options"]


@dataclass(frozen=True, eq=False)
class Reading:
    """A prompt that was read: the cache, logits (V,) of the next token, the number of tokens, and the last positions."""

    cache: Any
    logits: Tensor
    length: int
    last_position: Tensor | None


@torch.no_grad()
def read_prompt(model: Any, inputs: Mapping[str, Tensor], positions: Tensor | None) -> Reading:
    """Read the prompt once; frames are encoded here and not again for each option."""
    places = {} if positions is None else {"position_ids": positions}
    out = model(**inputs, **places, use_cache=True, **_last_logits(model))
    cache = getattr(out, "cache", None)
    if cache is None:
        cache = out.past_key_values
    logits = out.logits[0, -1]
    require_finite("logits of the language model", {"": (logits, None)})
    last = None if positions is None else positions[..., -1:]
    return Reading(cache, logits, inputs["input_ids"].shape[1], last)


@torch.no_grad()
def score_options(
    model: Any, reading: Reading, options: Sequence[Sequence[int]], normalize: str = "sum"
) -> list[float]:
    """Log-probability of each option's tokens after the prompt: the sum, or the mean per token.

    Each option goes through the model alone, over a copy of the prompt's cache, whatever kind of cache that is.

    Raises:
        ConfigError: another `normalize`.
        NonFiniteError: NaN or infinity in the logits.
    """
    if normalize not in ("sum", "mean"):
        raise ConfigError(f"normalize must be 'sum' or 'mean', got {normalize!r}")
    scores = []
    for option in options:
        ids = torch.tensor(option, device=reading.logits.device)
        logits = reading.logits[None]
        if len(option) > 1:
            logits = torch.cat([logits, _continue(model, reading, ids[:-1])])
        total = token_logprobs(logits, ids)
        require_finite("scores of the options from the language model", {"": (total.to(logits.dtype), None)})
        scores.append(float(total.sum() if normalize == "sum" else total.mean()))
    return scores


def _continue(model: Any, reading: Reading, ids: Tensor) -> Tensor:
    """(M, V) logits after each of the tokens `ids` (M,) that follow the prompt."""
    count = len(ids)
    more: dict[str, Any] = {}
    if reading.last_position is not None:
        more["position_ids"] = reading.last_position + torch.arange(1, count + 1, device=ids.device)
    mask = torch.ones(1, reading.length + count, dtype=torch.long, device=ids.device)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    cache = {name: copy.deepcopy(reading.cache), "use_cache": True}
    return model(input_ids=ids[None], attention_mask=mask, **cache, **more).logits[0]


def _last_logits(model: Any) -> dict[str, int]:
    """Compute the logits of the last token only, where the model can."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


@torch.no_grad()
def generate(
    model: Any,
    inputs: Mapping[str, Tensor],
    positions: Tensor | None,
    settings: Decoding,
    *,
    streamer: Any = None,
    cancel: Cancel | None = None,
) -> Tensor:
    """New token ids (num_return_sequences, M)."""
    ids = inputs["input_ids"]
    processors = [_AfterPrompt(one, ids.shape[1]) for one in settings.processors(model.dtype)]
    places = {} if positions is None else {"position_ids": positions}
    with settings.seeded(ids.device):
        out = model.generate(
            **inputs,
            **places,
            generation_config=settings.generation_config(model.generation_config),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=stopping(cancel),
            streamer=streamer,
        )
    length = ids.shape[1]  # some models return the prompt too
    return out[:, length:] if out.shape[1] >= length and bool((out[:, :length] == ids).all()) else out


class _AfterPrompt(LogitsProcessor):
    """Hands a processor the generated tokens without the prompt, if that is among them."""

    def __init__(self, inner: Any, length: int) -> None:
        self.inner, self.length = inner, length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.inner(input_ids[:, self.length :], scores)
