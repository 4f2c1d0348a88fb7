"""Decoder-only language models of transformers (Llama, Qwen, OPT, …), read through spliced embeddings."""

# Axes: B items, S prompt positions, D width, V vocabulary, N options, M tokens of the longest option

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vidweave.errors import ShapeError
from vidweave.language.decoding import Cancel, Decoding, stopping
from vidweave.language.legacy_beams import legacy_beam_search
from vidweave.language.legacy_cache import legacy_cache_decoding
from vidweave.language.pretrained import (
    PretrainedConfig,
    PretrainedLanguageModel,
    build_model,
    finite_logits,
)
from vidweave.language.scoring import OptionBatch
from vidweave.types import Embeds, Prefix, TextTokens

__all__ = ["CausalConfig", "CausalLanguageModel"]


@dataclass(frozen=True, kw_only=True)
class CausalConfig(PretrainedConfig):
    """A decoder-only language model; see `PretrainedConfig`."""

    kind: ClassVar[str] = "causal"
    family: ClassVar[frozenset[str]] = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    what: ClassVar[str] = "causal"

    def build(self) -> CausalLanguageModel:
        return CausalLanguageModel(self)


class CausalLanguageModel(PretrainedLanguageModel):
    """Causal language model: prompts are padded on the left, and answers follow them."""

    side = "left"

    def __init__(self, config: CausalConfig) -> None:
        super().__init__(config, build_model(AutoModelForCausalLM, config.transformers_config()))

    def loss(self, embeds: Embeds, target: TextTokens | None = None) -> Tensor:
        """Compute the mean cross-entropy of the tokens marked by `embeds.labels`, each predicted from those before it.

        Raises:
            ShapeError: no labels to train on, a separate target, or a prompt longer than the model's positions.
        """
        if target is not None:
            raise ShapeError(
                "a causal language model is trained on `embeds.labels`, not on a separate target; plan with targets"
            )
        if embeds.labels is None:
            raise ShapeError("the prompt has no target to train on; plan it with targets")
        self._check_length(embeds, 0)
        # Position s predicts s + 1; a token with only padding before it cannot be predicted.
        labels = embeds.labels[:, 1:].masked_fill(~embeds.mask[:, :-1], -100)
        is_target = (labels != -100).any(0).nonzero()
        if not len(is_target):
            raise ShapeError(f"none of the {embeds.labels.numel()} positions is a target with something before it")
        keep = embeds.labels.shape[1] - int(is_target[0])  # logits are large: compute only the needed ones
        logits = self._read(embeds, logits_to_keep=keep).logits[:, :-1]
        return F.cross_entropy(logits.float().flatten(0, 1), labels[:, -(keep - 1) :].flatten(), ignore_index=-100)

    def generate(
        self, embeds: Embeds, *, streamer: Any = None, cancel: Cancel | None = None, **decoding: Any
    ) -> Tensor:
        """Generate token ids (B * num_return_sequences, L), padded on the right; settings as in `Decoding`.

        Args:
            streamer: Streamer of transformers that receives each new token.
            cancel: Events; generation stops early as soon as one is set.
        """
        settings = Decoding.of(decoding)
        self._check_length(embeds, settings.max_new_tokens)
        if settings.legacy_start is not None:
            return self._generate_legacy(embeds, settings)
        if settings.legacy_inserted is not None:
            return self._generate_lagging(embeds, settings, streamer, cancel)
        with settings.seeded(embeds.values.device):
            return self.model.generate(
                inputs_embeds=embeds.values,
                attention_mask=embeds.mask.long(),
                generation_config=settings.generation_config(self.model.generation_config),
                logits_processor=settings.processors(embeds.values.dtype),
                stopping_criteria=stopping(cancel),
                streamer=streamer,
            )

    @torch.no_grad()
    def _generate_legacy(self, embeds: Embeds, settings: Decoding) -> Tensor:
        prefix, size = self.prefill(embeds), settings.num_beams
        assert prefix.next_logits is not None
        cache, mask = prefix.state, embeds.mask.repeat_interleave(size, 0)
        cache.batch_repeat_interleave(size)

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            nonlocal mask
            cache.reorder_cache(parents)
            places = mask.sum(1, keepdim=True)
            mask = F.pad(mask, (0, 1), value=True)
            return self.model(
                input_ids=tokens[:, None], attention_mask=mask.long(), position_ids=places, **self._cached(cache)
            ).logits[:, -1]

        return legacy_beam_search(prefix.next_logits, step, settings, *self._ends(settings))

    @torch.no_grad()
    def _generate_lagging(self, embeds: Embeds, settings: Decoding, streamer: Any, cancel: Cancel | None) -> Tensor:
        cache = DynamicCache(config=self.model.config)

        def prefill(values: Tensor, lag: int) -> Tensor:
            logits = self.model(inputs_embeds=values, **self._cached(cache), logits_to_keep=1).logits[:, -1]
            if lag:
                cache.crop(-lag)  # the last ones go
            return logits

        def step(values: Tensor, position: int) -> Tensor:
            places = torch.full((len(values), 1), position, device=values.device)
            return self.model(inputs_embeds=values, position_ids=places, **self._cached(cache)).logits[:, -1]

        ends, pad = self._ends(settings)
        return legacy_cache_decoding(
            embeds, prefill, step, self.embed, settings, ends=ends, pad=pad, streamer=streamer, cancel=cancel
        )

    def _ends(self, settings: Decoding) -> tuple[list[int], int]:
        """Return the tokens that end an answer, and the padding token."""
        base = settings.generation_config(self.model.generation_config)
        ends = base.eos_token_id if isinstance(base.eos_token_id, list) else [base.eos_token_id]
        return [int(end) for end in ends if end is not None], int(base.pad_token_id)

    def prefill(self, embeds: Embeds) -> Prefix:
        """Run the prompt once; keep its keys and values, and the logits of the next token (see `next_logits`)."""
        self._check_length(embeds, 0)
        cache = DynamicCache(config=self.model.config)
        out = self._read(embeds, **self._cached(cache), logits_to_keep=1)
        return Prefix(embeds, cache, finite_logits(out.logits[:, -1]))

    def next_logits(self, embeds: Embeds) -> Tensor:
        """(B, V) logits of the token that follows each prompt; NonFiniteError where one is NaN or infinite."""
        self._check_length(embeds, 0)
        return finite_logits(self._read(embeds, use_cache=False, logits_to_keep=1).logits[:, -1])

    def score(
        self, prefix: Prefix, options: Sequence[Sequence[Sequence[int]]], *, normalize: str = "sum"
    ) -> list[list[float]]:
        """Compute the log-probability of each option's tokens after the prompt; `prefix` is not modified.

        Args:
            prefix: From `prefill`.
            options: Token ids per item and option; items may have different numbers of options.
            normalize: `sum` over the tokens of an option, or their `mean`.
        """
        batch = OptionBatch.of(options, len(prefix.embeds.mask), prefix.embeds.values.device)
        assert prefix.next_logits is not None
        logits = prefix.next_logits[batch.item, None]
        if batch.ids.shape[1] > 1 and len(batch.item):
            logits = torch.cat([logits, self._continue(prefix, batch)], 1)
        return batch.scores(logits, normalize)

    def _continue(self, prefix: Prefix, batch: OptionBatch) -> Tensor:
        """Logits (N, M - 1, V) after each option token but the last, for all options in one pass over a repeated cache."""
        ids, real, before = batch.ids[:, :-1], batch.mask[:, :-1], prefix.embeds.mask[batch.item]
        self._check_length(prefix.embeds, batch.ids.shape[1])
        steps = torch.arange(ids.shape[1], device=ids.device)
        return self.model(
            input_ids=ids,
            attention_mask=torch.cat([before, real], 1).long(),
            position_ids=before.sum(1, keepdim=True) + steps,
            **self._cached(_repeat_cache(prefix.state, batch.item)),
        ).logits

    def _cached(self, cache: Any) -> dict[str, Any]:
        """Return the arguments that pass the model a cache to fill; transformers renamed the first of them in 5.24."""
        name = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        return {name: cache, "use_cache": True}

    def _read(self, embeds: Embeds, **options: Any) -> Any:
        return self.model(
            inputs_embeds=embeds.values, attention_mask=embeds.mask.long(), position_ids=embeds.position_ids, **options
        )

    def _check_length(self, embeds: Embeds, new: int) -> None:
        if not bool(embeds.mask[:, -1].all()):
            raise ShapeError("a causal language model reads prompts padded on the left; splice with side='left'")
        length = int(embeds.mask.sum(1).max())
        if self.max_positions is not None and length + new > self.max_positions:
            raise ShapeError(
                f"the prompt has {length} positions and {new} may follow, the language model has {self.max_positions}; "
                "use fewer frames or tokens per frame, or a shorter question"
            )


def _repeat_cache(cache: Any, rows: Tensor) -> Any:
    """Copy batch entries `rows` of `cache`, which is not modified.

    The memo gives deepcopy the selected tensors, so each is copied once and every layer keeps its own counters.
    """
    held = [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]
    return copy.deepcopy(cache, {id(tensor): tensor[rows] for tensor in held})
