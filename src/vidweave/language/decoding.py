"""Generation settings: a checked subset of transformers' options, converted to one generation config."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Event
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from vidweave.errors import ConfigError
from vidweave.language.drawing import SeededDraws, check_seed
from vidweave.nn.numbers import require_finite
from vidweave.types import config_from_dict

__all__ = ["Cancel", "Decoding", "stopping"]

Cancel = Event | Sequence[Event]
"""Events; generation stops as soon as one of them is set."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Generation settings, with transformers' names. The default is greedy decoding.

    Attributes:
        max_new_tokens: Maximum number of generated tokens.
        min_new_tokens: Minimum number of tokens before the end token.
        do_sample: Sample tokens; only then do `temperature`, `top_k` and `top_p` have an effect.
        top_k: Sample among this many most likely tokens (0 = all).
        num_beams: Beams of beam search; `length_penalty` and `early_stopping` have an effect only with two or more.
        num_return_sequences: Answers per prompt, best first; at most `num_beams` unless sampling.
        repetition_penalty: Divides scores of tokens generated before; the prompt does not count.
        use_cache: Keep keys and values; without them the result is the same, but slower.
        legacy_start: A token that beam search counts as the first of each answer although the model never reads it, as
            in transformers before 4.35 for prompts of embeddings (`legacy_beams`); only to reproduce published figures.
            A released `max_length` is then `max_new_tokens` + 1.
        legacy_inserted: Number of positions that the cache counts between the begin token and the end of the last
            block, regardless of their real number: OneLLM's released decoder (`legacy_cache`), greedy; only to
            reproduce published figures.
        seed: Seed of a separate generator for sampling; None samples from torch's global one.
    """

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    early_stopping: bool = False
    use_cache: bool = True
    legacy_start: int | None = None
    legacy_inserted: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in {
            "max_new_tokens": 1,
            "min_new_tokens": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "top_k": 0,
        }.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(f"min_new_tokens ({self.min_new_tokens}) is above max_new_tokens ({self.max_new_tokens})")
        if self.legacy_inserted is not None and not self._is_plain():
            raise ConfigError(
                "legacy_inserted decodes greedily, without beams, penalties or min_new_tokens; leave them out"
            )
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ConfigError(f"temperature and repetition_penalty must be positive and top_p in (0, 1], got {self}")
        if self.legacy_start is not None and (self.num_beams < 2 or self.do_sample or self.legacy_start < 0):
            raise ConfigError(
                f"legacy_start ({self.legacy_start}) is a token that beam search counts; give num_beams of 2 or more and no "
                "do_sample"
            )
        if self.seed is not None:
            check_seed(self.seed)
        if not self.do_sample and (self.temperature, self.top_k, self.top_p) != (1.0, 50, 1.0):
            raise ConfigError("temperature, top_k and top_p have no effect without sampling; add do_sample=True")
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise ConfigError(
                f"{self.num_return_sequences} answers from {self.num_beams} beams cannot differ; "
                f"set num_beams={self.num_return_sequences} or do_sample=True"
            )

    def _is_plain(self) -> bool:
        """Whether decoding is plain greedy, without any other option."""
        changed = (self.do_sample, self.num_beams > 1, self.repetition_penalty != 1.0, self.min_new_tokens)
        return not any((*changed, self.no_repeat_ngram_size, self.legacy_start is not None))

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Decoding:
        """Build settings from names; UnknownNameError lists near matches of an unknown name."""
        return config_from_dict(cls, settings, "the generation settings")

    def generation_config(self, base: GenerationConfig) -> GenerationConfig:
        """Convert to transformers' form, with the special tokens of `base`; settings that are off are omitted."""
        end, pad = base.eos_token_id, base.pad_token_id
        if pad is None:
            pad = end[0] if isinstance(end, list) else end
        settings: dict[str, Any] = {"eos_token_id": end, "pad_token_id": 0 if pad is None else pad}
        settings |= {"bos_token_id": base.bos_token_id, "decoder_start_token_id": base.decoder_start_token_id}
        settings |= {
            n: getattr(self, n)
            for n in ("max_new_tokens", "num_beams", "do_sample", "num_return_sequences", "use_cache")
        }
        if self.do_sample:
            settings |= {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        if self.num_beams > 1:
            settings |= {"length_penalty": self.length_penalty, "early_stopping": self.early_stopping}
        if self.min_new_tokens:
            settings["min_new_tokens"] = self.min_new_tokens
        return GenerationConfig(**settings)

    def processors(self, dtype: torch.dtype) -> LogitsProcessorList:
        """Return logits processors: a check for finite scores in the model's `dtype`, and the repetition penalty.

        This is not left to the generation config, because with embedded prompts transformers would treat the prompt's
        padding as generated tokens and omit the first real ones, so that an answer would depend on its neighbors in the
        batch.
        """
        processors = LogitsProcessorList([_RequireFinite(dtype)])
        if self.repetition_penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.no_repeat_ngram_size:
            processors.append(NoRepeatNGramLogitsProcessor(self.no_repeat_ngram_size))
        return processors

    def seeded(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return a context in which sampling depends only on `seed` and does not change torch's global state."""
        if self.seed is None or not self.do_sample:
            return nullcontext()
        return SeededDraws(self.seed, device)


def stopping(cancel: Cancel | None) -> StoppingCriteriaList:
    """Return stopping criteria that check after each token whether one of the events was set."""
    events = [] if cancel is None else [cancel] if isinstance(cancel, Event) else list(cancel)
    return StoppingCriteriaList([_Cancelled(events)] if events else [])


class _Cancelled(StoppingCriteria):
    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        is_set = any(event.is_set() for event in self.events)
        return torch.full((len(input_ids),), is_set, dtype=torch.bool, device=input_ids.device)


class _RequireFinite(LogitsProcessor):
    """Raise NonFiniteError if a step's scores contain NaN or infinity, which would corrupt sampling and `argmax`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype  # dtype of the model: scores come in float32

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # Only the maximum: NaN exceeds everything, and -inf excludes tokens (the end token before min_new_tokens).
        require_finite("logits of the language model in generation", {"": (scores.amax(-1).to(self.dtype), None)})
        return scores
