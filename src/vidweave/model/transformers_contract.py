"""transformers' contract of a language model, for a model whose language model is one of four slots.

Embeddings, resizing, generation settings and quantization concern the words, so they go to the language model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from vidweave.errors import ConfigError
from vidweave.model.config import ModelSpec, VideoLanguageConfig
from vidweave.model.generation import generation_config_of, settings_of
from vidweave.types import config_to_dict

__all__ = ["TransformersContract"]


class TransformersContract(PreTrainedModel):
    """The methods of a `PreTrainedModel` that a composite model has to pass on."""

    config: VideoLanguageConfig
    spec: ModelSpec
    language_model: Any
    supports_gradient_checkpointing = True

    # -- embeddings ----------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.language_model.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings; `resize_token_embeddings` also keeps the configuration right."""
        self.language_model.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The matrix from hidden states to logits, if the language model has one."""
        return self.language_model.model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the matrix from hidden states to logits."""
        self.language_model.model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resize the language model's vocabulary, in its weights and in this model's configuration.

        Args:
            new_num_tokens, pad_to_multiple_of, mean_resizing: As in transformers.
        """
        made = self.language_model.model.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        part = self.language_model.config
        size = made.weight.shape[0]
        if size != part.config.get("vocab_size", size) or new_num_tokens is not None or pad_to_multiple_of is not None:
            self._set_language_config(replace(part, config={**part.config, "vocab_size": size}))
        return made

    def _set_language_config(self, part: Any) -> None:
        """Set `part` as the configuration of the language model, everywhere in this model."""
        self.language_model.config = part
        self.spec = replace(self.spec, language_model=part)
        self.config.spec = {**self.config.spec, "language_model": config_to_dict(part)}

    # -- generation ----------------------------------------------------------------------------------------------

    @classmethod
    def can_generate(cls) -> bool:
        """True: `generate` answers."""
        return True

    def prepare_inputs_for_generation(self, inputs: Any = None, **arguments: Any) -> dict[str, Any]:
        """The arguments of `forward` for a first step. PEFT requires this method; `generate` does not need it."""
        return {"inputs": inputs, **arguments}

    def decoding(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Generation settings: those of `generation_config`, with `given` in their place.

        Raises:
            ConfigError: `generation_config` holds a setting that vidweave's decoding does not have.
        """
        tokens = {name: getattr(self.generation_config, name, None) for name in ("eos_token_id", "pad_token_id")}
        for name, value in tokens.items():
            if value is not None:
                setattr(self.language_model.model.generation_config, name, value)
        return {**self._default_decoding(), **(given or {})}

    def _default_decoding(self) -> dict[str, Any]:
        """The configured settings, or those of `generation_config` once they differ."""
        settings = settings_of(self.generation_config)
        return dict(self.spec.decoding) if settings == settings_of(self._configured_generation()) else settings

    def _configured_generation(self) -> GenerationConfig:
        return generation_config_of(self.spec.decoding, self.language_model.model.generation_config)

    def _check_quantizable(self) -> None:
        if getattr(self, "hf_quantizer", None) is not None:
            raise ConfigError(
                "a quantized model is not saved; save the model it was loaded from, and quantize it when it is loaded"
            )
