"""Encoder-decoder language models of transformers (T5, Flan-T5, …): the encoder reads, the decoder answers."""

# Axes: B items, S prompt positions, D width, V vocabulary, N options, M tokens of the longest option

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

from vidweave.errors import ConfigError, ShapeError
from vidweave.language.decoding import Cancel, Decoding, stopping
from vidweave.language.pretrained import (
    PretrainedConfig,
    PretrainedLanguageModel,
    build_model,
    finite_logits,
    transformers_config,
)
from vidweave.language.scoring import OptionBatch
from vidweave.types import Embeds, Prefix, TextTokens

__all__ = ["Seq2SeqConfig", "Seq2SeqLanguageModel"]


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(PretrainedConfig):
    """Configuration of an encoder-decoder language model; see `PretrainedConfig`.

    ``"tie_word_embeddings": False`` gives T5 a separate output matrix, as in Flan-T5; transformers 5 would tie it.
    """

    kind: ClassVar[str] = "seq2seq"
    family: ClassVar[frozenset[str]] = frozenset(MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    what: ClassVar[str] = "sequence-to-sequence"

    def transformers_config(self) -> PreTrainedConfig:
        """Return the checked configuration as transformers' class; a fresh one at each call.

        The decoder starts from `decoder_start_token_id`, or from the padding token (as T5 does) if that is not given.
        """
        config = transformers_config(self.config, self.family, self.what)
        if getattr(config, "decoder_start_token_id", None) is None:
            config.decoder_start_token_id = getattr(config, "pad_token_id", None)
        if config.decoder_start_token_id is None:
            raise ConfigError("the decoder needs a token to start from; give decoder_start_token_id or pad_token_id")
        return config

    def build(self) -> Seq2SeqLanguageModel:
        return Seq2SeqLanguageModel(self)


class Seq2SeqLanguageModel(PretrainedLanguageModel):
    """Sequence-to-sequence language model: prompts are padded on the right, and the decoder holds only the answer."""

    side = "right"

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config, build_model(AutoModelForSeq2SeqLM, config.transformers_config()))
        self._untie()

    def loss(self, embeds: Embeds, target: TextTokens | None = None) -> Tensor:
        """Compute the mean cross-entropy of the real tokens of `target`, including the end token if present.

        Raises:
            ShapeError: no target, an empty one, or labels inside the prompt.
        """
        if embeds.labels is not None:
            raise ShapeError("a sequence-to-sequence model is trained on `target`; plan the prompt without targets")
        if target is None or not bool(target.mask.any()):
            raise ShapeError("a sequence-to-sequence model needs a target with at least one token")
        logits = self._decode(self._encode(embeds), embeds.mask, target.ids)
        labels = target.ids.masked_fill(~target.mask, -100)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)

    def generate(
        self, embeds: Embeds | Prefix, *, streamer: Any = None, cancel: Cancel | None = None, **decoding: Any
    ) -> Tensor:
        """Generate token ids (B * num_return_sequences, L), padded on the right; arguments as in `CausalLanguageModel`.

        A `Prefix` from `prefill` is not encoded again.
        """
        settings = Decoding.of(decoding)
        if settings.legacy_start is not None or settings.legacy_inserted is not None:
            raise ConfigError(
                "legacy_start and legacy_inserted are for causal language models: a sequence-to-sequence model reads its start "
                "token, and keeps the prompt apart"
            )
        prompt, states = (embeds.embeds, embeds.state) if isinstance(embeds, Prefix) else (embeds, self._encode(embeds))
        with settings.seeded(prompt.values.device):
            ids = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=prompt.mask.long(),
                generation_config=settings.generation_config(self.model.generation_config),
                logits_processor=settings.processors(prompt.values.dtype),
                stopping_criteria=stopping(cancel),
                streamer=streamer,
            )
        return ids[:, 1:]  # without the start token

    def prefill(self, embeds: Embeds) -> Prefix:
        """Run the prompt once; keep the encoder states and the logits of the first token."""
        states = self._encode(embeds)
        first = embeds.position_ids.new_zeros(
            len(states), 1
        )  # only its length matters: the decoder sees the start token
        return Prefix(embeds, states, finite_logits(self._decode(states, embeds.mask, first)[:, 0]))

    def next_logits(self, embeds: Embeds) -> Tensor:
        """(B, V) logits of the first token of each answer; NonFiniteError where one is NaN or infinite."""
        logits = self.prefill(embeds).next_logits
        assert logits is not None
        return logits

    def score(
        self, prefix: Prefix, options: Sequence[Sequence[Sequence[int]]], *, normalize: str = "sum"
    ) -> list[list[float]]:
        """Compute the log-probability of each option as the answer; arguments as in `CausalLanguageModel.score`."""
        batch = OptionBatch.of(options, len(prefix.embeds.mask), prefix.embeds.values.device)
        if not len(batch.item):
            return [[] for _ in options]
        logits = self._decode(prefix.state[batch.item], prefix.embeds.mask[batch.item], batch.ids)
        return batch.scores(logits, normalize)

    def _encode(self, embeds: Embeds) -> Tensor:
        """Return the states (B, S, D) of the encoder."""
        length, most = embeds.mask.shape[1], self.max_positions
        if most is not None and length > most:
            raise ShapeError(
                f"the prompt has {length} positions, the encoder has {most}; use fewer frames or a shorter question"
            )
        encoder = self.model.get_encoder()
        return encoder(inputs_embeds=embeds.values, attention_mask=embeds.mask.long()).last_hidden_state

    def _decode(self, states: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Logits (B, L, V) of each of `ids` (B, L), given the encoder and the ids before it.

        Padding is on the right, where a causal decoder cannot see it.
        """
        start = ids.new_full((len(ids), 1), self.model.config.decoder_start_token_id)
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask.long(),
            decoder_input_ids=torch.cat([start, ids[:, :-1]], 1),
            use_cache=False,
        ).logits

    def _untie(self) -> None:
        """Give the output matrix its own weights if the configuration requests it.

        transformers' list of tied weights is updated as well, so that saving and loading keep the two separate.
        """
        model = self.model
        head, table = model.get_output_embeddings(), model.get_input_embeddings()
        if self.config.config.get("tie_word_embeddings") is not False or head is None:
            return
        if head.weight is table.weight:
            head.weight = nn.Parameter(table.weight.detach() * table.weight.shape[1] ** -0.5)
        name = next(n for n, module in model.named_modules() if module is head) + ".weight"
        model._tied_weights_keys = {k: v for k, v in (model._tied_weights_keys or {}).items() if k != name}
        model.all_tied_weights_keys.pop(name, None)
