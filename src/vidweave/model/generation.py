"""`generation_config` of a model: transformers' class and file for the settings that `Decoding` has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.decoding import Decoding
from vidweave.model.files import read_json

__all__ = ["GENERATION_FILE", "generation_config_of", "read_generation", "settings_of"]

GENERATION_FILE = "generation_config.json"
_TOKENS = {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"}
_FIELDS = {field.name for field in fields(Decoding)}
# What transformers writes into every generation_config.json; it changes nothing here
_REMARKS = {"transformers_version", "_from_model_config"}
# Settings that `Decoding` applies itself, in addition to the generation config
_BEYOND = ("repetition_penalty", "no_repeat_ngram_size", "legacy_start", "legacy_inserted", "seed")


def generation_config_of(settings: Mapping[str, Any], tokens: GenerationConfig) -> GenerationConfig:
    """transformers' form of `settings`, with the special tokens of `tokens`; settings without effect are left out."""
    decoding = Decoding.of(dict(settings))
    made = decoding.generation_config(tokens)
    kept = {name: getattr(decoding if name in _BEYOND else made, name) for name in settings}
    kept |= {name: getattr(tokens, name) for name in _TOKENS}
    return GenerationConfig(**{name: value for name, value in kept.items() if value is not None})


def settings_of(config: GenerationConfig) -> dict[str, Any]:
    """The settings of `config` that differ from transformers' defaults, by the names of `Decoding`.

    Raises:
        ConfigError: a setting that `Decoding` does not have.
    """
    result = {name: value for name, value in config.to_diff_dict().items() if value is not None}
    unknown = sorted(result.keys() - _FIELDS - _TOKENS - _REMARKS)
    if unknown:
        raise ConfigError(
            f"generation_config sets {', '.join(unknown)}, which vidweave does not support; it supports "
            f"{', '.join(sorted(_FIELDS))}"
        )
    return {name: value for name, value in result.items() if name in _FIELDS}


def read_generation(folder: Path) -> GenerationConfig | None:
    """The generation_config.json of a model folder, read as strictly as its config.json; None where it has none.

    Raises:
        CheckpointError: it cannot be read, or holds a setting that `Decoding` does not have.
    """
    if not (folder / GENERATION_FILE).is_file():
        return None
    data = {key: value for key, value in read_json(folder / GENERATION_FILE).items() if key not in _REMARKS}
    try:
        Decoding.of({key: value for key, value in data.items() if key not in _TOKENS})
        return GenerationConfig(**data)
    except (ConfigError, ValueError, TypeError) as error:
        raise CheckpointError(f"{GENERATION_FILE} of {folder} cannot be used: {error}") from error
